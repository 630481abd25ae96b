"""Sections on how it runs: scaling as measured, checkpoints and wall time, storage, energy."""

from __future__ import annotations

import math

from ..checkpoint.interval import young_daly
from ..errors import CourseError
from ..study import Interval, Study
from ..study.study_figures import alt, percent, scaling_figure
from ..study.study_file import WIDE
from ..watch import footprint
from ..words import count
from . import asked_hours
from .annex_need import number, own, queue_for
from .draft import Section, plain
from .proposal_case import Case

FIGURE = "scaling.svg"
GB = 1e9


def scaling(given: Case) -> Section:
    part, study = Section("Scaling, measured"), given.study
    if study is None or not study.content["scaling"]:
        why = "there is none" if study is None else "its baseline was not measured"
        part.mark(f"A scaling study is missing ({why}). A reviewer has no reason to believe that the nodes "
                  "asked for are of use. Measure: scaleup study CONFIG --nodes 1,2,4 --strong "
                  "--weak")  # fmt: skip
        return part
    content, measured = study.content, study.content["measured"]
    config = content["config"]["data"]
    part.say(
        f"Study *{content['name']}* of {content['date']} on {content['machine']} ({content['device']}): a "
        f"model "
        f"of {asked_hours.parameters(study):,} parameters in sequences of {config['seq']:,} tokens, "
        f"{count(measured['repeats'], 'run')} of {measured['steps']} steps at each point, after "
        f"{measured['warmup_steps_left_out']} steps of warm-up. In brackets: 95 % intervals over runs. "
        f"Efficiency is against {count(content['baseline']['nodes'], 'node')}, {content['baseline']['why']}."
    )
    for mode in content["scaling"]:
        rows = []
        for point in study.points(mode):
            step, rate = Interval(**point["step_seconds"]), Interval(**point["tokens_per_s"])
            good = study.efficiency(mode)[point["nodes"]]
            first = point["nodes"] == content["baseline"]["nodes"]
            rows.append(
                (
                    f"{point['nodes']}",
                    f"{point['ranks']}",
                    f"{point['global_batch']:,}",
                    seconds(step),
                    f"{rate.value:,.0f}",
                    "baseline" if first else percent(good),
                )
            )
        header = ("nodes", "ranks", "global batch", "seconds a step", "tokens/s", "efficiency")
        part.table(f"{mode} scaling", header, rows, numbers=True)
    part.say("Held fixed: " + " ".join(f"*{mode}*: {'; '.join(said)}." for mode, said in
                                       content["held_fixed"].items()))  # fmt: skip
    part.figure(FIGURE, alt(study, "efficiency"))
    for sentence in study_marks(given, study):
        part.mark(sentence)
    return part


def figure(study: Study) -> str | None:
    """The study's efficiency as SVG; None where there is nothing to draw. Needs Matplotlib."""
    if not study.content["scaling"]:
        return None
    import matplotlib.pyplot as plt

    from ..notebook import plots

    made = scaling_figure(study, "efficiency")
    picture = plots.svg(made)
    plt.close(made)
    return picture


def seconds(step: Interval) -> str:
    if step.low is None:
        return f"{step.value:.3g} (error unknown)"
    return f"{step.value:.3g} ({step.low:.3g} to {step.high:.3g})"


def study_marks(given: Case, study: Study) -> list[str]:
    """What a reviewer would not accept of a study as evidence for this request."""
    content, said = study.content, []
    machine = given.machine["name"]
    most = max(point["nodes"] for mode in content["scaling"] for point in study.points(mode))
    if content["machine"] == "practice":
        said.append(f"The study was made on the practice supercomputer. It shows that you can measure, and "
                    f"nothing about {machine}: repeat it there")  # fmt: skip
    elif content["machine"] != given.name:
        said.append(
            f"The study was made on {content['machine']}, and {machine} is asked for: repeat it there"
        )
    if given.answer:
        run, nodes = given.answer.best.run, int(given.answer.best.nodes)
        if abs(asked_hours.parameters(study) / run.shape.parameters - 1) >= 0.02:
            said.append(f"The study's model has {asked_hours.parameters(study):,} parameters, and that of "
                        f"the "
                        f"proposal {run.shape.parameters:,}: measure the model that will be "
                        f"trained")  # fmt: skip
        if most < nodes:
            said.append(f"The study ends at {count(most, 'node')}, and {nodes} are asked for: what happens "
                        f"in "
                        "between was not measured")  # fmt: skip
    if missing := content["missing"]:
        said.append(f"The study is not finished: {count(len(missing), 'run')} missing ({', '.join(missing)})")
    wide = [point["spread"] for point in content["points"] if (point.get("spread") or 0) > WIDE]
    if wide:
        said.append(
            f"Runs of one point differ by up to {max(wide):.0%} (standard deviation), at "
            f"{count(len(wide), 'point')} by more than {WIDE:.0%}: look for another load, and measure again"
        )
    if content["measured"]["repeats"] < 2:
        said.append("Each point was run once, so the error is not known: three runs are the least")
    return said


def usable(given: Case) -> dict | None:
    return queue_for(given.machine, int(given.answer.best.nodes)) if given.answer else None


def state_bytes(given: Case) -> float:
    """A checkpoint: 16-bit weights and the optimizer's 32-bit master copy and two moments, 14 bytes each."""
    return 14.0 * given.answer.best.run.shape.parameters


def checkpoints(given: Case) -> Section:
    part, words = Section("Checkpoints and wall time"), given.words
    own(part, words, "checkpoint", restart="Restart")
    save, days, start, keep = (
        number(part, words, "checkpoint", key)
        for key in ("save_seconds", "node_failure_days", "start_minutes", "keep")
    )
    if not given.answer:
        part.mark("Without a plan there is no wall time to divide into jobs")
        return part
    nodes = int(given.answer.best.nodes)
    wall = given.basis.node_hours / nodes
    rows = [("one checkpoint", f"{state_bytes(given) / GB:,.1f} GB", "14 bytes per parameter: 16-bit "
                                                                     "weights, "
             "32-bit copy and two moments")]  # fmt: skip
    every = None
    if save and days:
        failing = days * 24 * 3600 / nodes
        every = young_daly(save, failing)
        lost = save / every + every / (2 * failing)
        rows += [
            ("time between failures of the job", f"{failing / 3600:,.1f} h", f"{days:g} days of a node / "
                                                                             f"{nodes}"),
            ("a save every", f"{every / 60:,.1f} min", "sqrt(2 x save x time between failures), Young and "
                                                       "Daly"),
            ("time lost to saves and failures", f"{lost:.1%}", "save / interval + interval / (2 x time "
                                                               "between failures)"),
            ("failures to expect in the main run", f"{wall * 3600 / failing:.1f}", f"{wall:,.0f} h of wall "
                                                                                   f"time"),
        ]  # fmt: skip
    limit = (usable(given) or {}).get("hours")
    if limit and start is not None:
        useful = limit - start / 60 - ((save or 0) / 3600)
        jobs = math.ceil(wall / useful) if useful > 0 else 0
        if jobs:
            rows += [
                ("wall-time limit of a job", f"{limit:g} h", "the partition's, see above"),
                ("useful in a job", f"{useful:.2f} h", f"without {start:g} min of start and the last save"),
                ("jobs of the chain", f"{jobs:,}", f"{wall:,.1f} h / {useful:.2f} h, rounded up"),
            ]
        else:
            part.mark("A job of this partition ends before it has done anything: look for a longer one")
    elif not limit:
        part.mark(f"The longest job of the partition is not known here: ask {given.machine['site']}")
    part.table("saving, failing, going on", ("what", "value", "how"), rows)
    return part


def storage(given: Case) -> Section:
    part, words, facts = Section("Storage and transfer"), given.words, given.machine
    own(part, words, "storage", transfer="Transfer", afterwards="Afterwards")
    gigabytes, files = (number(part, words, "data", key) for key in ("gigabytes", "files"))
    rate, keep = number(part, words, "storage", "mbit_s"), words.get("checkpoint", "keep")
    rows = []
    if gigabytes is not None:
        rows.append(
            ("prepared data", f"{gigabytes:,.0f} GB", f"{files:,.0f} files" if files is not None else "")
        )
    if given.answer and keep is not None:
        size = keep * state_bytes(given) / GB
        rows.append(("checkpoints", f"{size:,.1f} GB", f"{keep:g} kept"))
        if gigabytes is not None:
            rows.append(("together", f"{gigabytes + size:,.0f} GB", ""))
    if gigabytes is not None and rate:
        rows.append(("data on their way", f"{8000 * gigabytes / rate / 3600:,.1f} h", f"at {rate:g} Mbit/s"))
    if rows:
        part.table("what is stored and moved", ("what", "amount", "how"), rows)
    part.say(f"{facts['name']} has for this: {plain(facts['scratch'])} "
             f"({facts['scratch'].date or 'no date'}). "
             f"What is deleted, and when: {plain(facts['purge'])}.")  # fmt: skip
    return part


def energy(given: Case) -> Section:
    part = Section("Energy")
    if not given.answer:
        part.mark("Without a plan there are no node-hours, and without those no energy")
        return part
    try:
        draw = footprint.node_draw(given.name)
        pue, which = footprint.pue(given.name)
    except CourseError:
        part.mark(f"What a node of {given.machine['name']} draws is not known here: ask the site, or read "
                  f"its "
                  "counters in a test run")  # fmt: skip
        return part
    spent = footprint.energy(given.node_hours, 1, draw.node_w, draw.devices_w, pue)
    rows = [
        ("a node in training", f"{draw.node_w:,.0f} W", draw.says),
        ("PUE of the building", f"{pue:g}", which),
        ("energy of all the work", f"{spent.total:,.0f} kWh", f"{given.node_hours:,.0f} node-hours"),
    ]
    country = str(given.machine["country"])
    if country in footprint.grids():
        grams = footprint.grid(country)
        rows.append(("CO2-equivalent", f"{footprint.co2_kg(spent.total, country) / 1000:,.2f} t",
                     f"{grams.value:g} g/kWh, grid of {country}, mean of 2023"))  # fmt: skip
    main = footprint.energy(given.basis.node_hours, 1, draw.node_w, draw.devices_w, pue).total
    rows.append(("main run, per billion "
                 "tokens", f"{footprint.per_billion(main, given.answer.best.tokens):,.1f} kWh",
                 "without trial runs and failures"))  # fmt: skip
    part.table("energy, estimated and not measured", ("what", "value", "how"), rows)
    return part
