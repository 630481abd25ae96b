"""`scaleup`: one word for each thing the course does from a shell."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from pathlib import Path

from .errors import CourseError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="scaleup", description="From one GPU to a supercomputer: the course's tool."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser
    doctor = add("doctor", help="look at this machine: what works, what is missing, what to do")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    prepare_arguments(
        add("prepare", help="turn a folder of texts into token shards, or the course's own text")
    )
    train = add("train", help="train the course's GPT, alone or under torchrun or srun")
    train.add_argument("--config", required=True, help="a TOML file, such as data/first-run.toml")
    train.add_argument(
        "--anew", action="store_true", help="begin from nothing, also where a run of this name can go on"
    )
    export = add("export", help="a run's model for other programs: safetensors that transformers loads")
    export.add_argument("run", help="the name of a run: a folder in .scaleup/runs")
    export.add_argument("--out", required=True, help="a folder for model.safetensors and config.json")
    watch = add("watch", help="curves of a run in TensorBoard while it goes on, and its alarms; offline")
    watch.add_argument("run", nargs="?", help="a name in .scaleup/runs (the newest if not given)")
    watch.add_argument("--port", type=int, default=6006, help="on this machine only (6006; 0: a free one)")
    watch.add_argument("--once", action="store_true", help="convert what is there and open nothing")
    watch.add_argument(
        "--peak", type=float, metavar="TFLOPS", help="of all the run's devices, for its MFU (from their name)"
    )
    practice = add("practice", help="a real Slurm on this machine, to practise on")
    actions = practice.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = actions.add_parser("up", help="start it, or mend it")
    start.add_argument("--nodes", type=int, help="how many nodes (all of them if not given)")
    start.add_argument("--link", type=int, metavar="MBIT", help="throttle each node's link to so many Mbit/s")
    start.add_argument("--mode", help="namespaces or plain; without it, what this system allows")
    actions.add_parser("down", help="end it and all that runs on it")
    actions.add_parser("status", help="nodes and jobs")
    actions.add_parser("shell", help="a shell on its login node")
    inspect = actions.add_parser("check", help="would this machine's scheduler take this script?")
    inspect.add_argument("script", help="a job script")
    inspect.add_argument("--machine", required=True, help="a name in data/machines.yml")
    inspect.add_argument("--json", action="store_true", help="for an editor: every finding with its line")
    inspect.add_argument(
        "--fix", action="store_true", help="write a mended script beside it, where the mend is certain"
    )
    inspect.add_argument("--once", action="store_true", help="keep no scheduler ready for the next check")
    job = add("job", help="write a job script for a supercomputer, or for the practice one")
    job.add_argument("config", help="a TOML file, such as data/two-nodes.toml")
    job.add_argument("--machine", required=True, help="a name in data/machines.yml, or practice")
    job.add_argument("--nodes", required=True, type=int, help="how many whole nodes")
    job.add_argument(
        "--hours", type=float, help="wall time (one hour, or what the queue allows, if not given)"
    )
    job.add_argument("--queue", help="a partition or QOS of the machine (the usual one if not given)")
    job.add_argument(
        "--launch", choices=("torchrun", "srun"), default="torchrun", help="what starts the ranks"
    )
    job.add_argument("--out", help="a new file for the script (printed if not given)")
    study_arguments(
        add("study", help="a scaling study: submit the same run on several numbers of nodes, and collect")
    )
    planner = add("plan", help="how long, how much memory, how many hours a training takes on a machine")
    plan_arguments(planner)
    propose_arguments(
        add("propose", help="the technical annex of a proposal, from your words, a plan and a study")
    )
    access_arguments(add("access", help="which way into EuroHPC's machines fits you, and what it takes"))
    explain = add("explain", help="read a failed run's log: the likely cause, and the line that shows it")
    explain.add_argument("log", metavar="LOG", help="a log file, or - for the standard input")
    explain.add_argument("--json", action="store_true", help="print the findings as JSON")
    check = add("check", help="run the checks of a lesson's exercises")
    check.add_argument(
        "lesson", nargs="?", help="a lesson, such as data-parallel; without it, every one you began"
    )
    add("progress", help="which exercises are solved")
    reset = add("reset", help="put a lesson's exercises back; your answers are kept aside")
    reset.add_argument("lesson", help="a lesson, such as data-parallel")
    return top


def propose_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("file", metavar="FILE", help="your words (.toml), or an annex that you went on writing (.md)")
    add("--study", metavar="FOLDER", help="a scaling study: study.json, or the folder that has it")
    add("--machine", help="a name in data/machines.yml (the file's, if not given)")
    add("--mode", help="an access mode: a name in data/access.yml (the file's, if not given)")
    add("--out", metavar="FOLDER", help="for annex.md, annex.html, annex.pdf (the file's name without .toml)")
    add("--new", action="store_true", help="write a FILE with every question in it")
    add("--review", action="store_true", help="score FILE, and say what a reviewer would ask")


def study_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("config", help="a TOML file, such as data/two-nodes.toml; its batch is that of the fewest nodes")
    add("--nodes", required=True, metavar="1,2,4", help="how many whole nodes, at each point")
    add("--machine", default="practice", help="a name in data/machines.yml (practice)")
    add("--strong", action="store_true", help="the same global batch at each point (so, if nothing is given)")
    add("--weak", action="store_true", help="the same sequences a rank at each point; with --strong both")
    add("--repeats", type=int, default=3, help="equal runs of each point, each a job of its own (3)")
    add("--steps", type=int, default=20, help="steps of a run that count (20)")
    add("--warmup", type=int, default=5, help="steps before them that do not (5)")
    add("--hours", type=float, help="wall time of a job (as of scaleup job)")
    add("--queue", help="a partition or QOS of the machine (the usual one if not given)")
    add("--launch", choices=("torchrun", "srun"), default="torchrun", help="what starts the ranks")
    add("--out", metavar="FOLDER", help="the study's folder (.scaleup/studies/NAME); call again to go on")
    add("--no-wait", action="store_true", help="submit, collect what is finished, and do not wait")
    add("--retry", action="store_true", help="submit anew what had failed")


def access_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--country", help="where the organisation is established, such as Portugal")
    add("--kind", help="sme, large, research or public")
    add("--staff", type=float, help="people, linked companies included: with the next two instead of --kind")
    add("--turnover", type=float, metavar="EUR", help="of a year")
    add("--balance", type=float, metavar="EUR", help="total of the balance sheet")
    add("--project", help="yes: the work is part of a project of Horizon Europe or Digital Europe (no)")
    add("--purpose", help="train, simulate or serve (train)")
    add("--results", help="open: they are published; or closed (closed)")
    add("--hours", help="GPU-hours, trials and failures included (0: not known)")
    add("--months", help="for how many (3)")
    add("--readiness", help="none, user of a supercomputer, or measured (none)")
    add("--data", help="clear, unclear, personal or health (clear)")
    add("--machine", help="a name in data/machines.yml, or any (any)")
    add("--ready", metavar="DAY", help="when you could apply (tomorrow)")
    add("--json", action="store_true", help="print the route as JSON")
    add("--yes", action="store_true", help="ask nothing: the usual answer for what is not given")


def prepare_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", nargs="?", help="texts, JSON lines, Parquet (without one: tokenise the course's text once)")
    add("--corpus", default="python-source", help="the course's text: a name in data/corpus.yml")
    add("--out", help="a folder for the shards; a call that was interrupted is taken up again")
    add("--tokenizer", metavar="FILE", help="a tokenizer.json (the course's own if not given)")
    add("--end", metavar="TOKEN", help="the token that closes a document (the tokenizer's usual one)")
    add("--languages", metavar="de,fr", help="keep documents in these languages only")
    add(
        "--similar",
        type=float,
        default=0.8,
        help="remove what is so similar to an earlier text (0.8; 0: none)",
    )
    add("--keep-personal-data", action="store_true", help="do not blot out e-mail addresses, phone numbers …")
    add("--opt-out", metavar="FILE", help="a list of paths, addresses and checksums to leave out")
    add("--licence", default="unknown", help="the licence of texts that bring none")
    add("--field", default="text", help="where the text is in a JSON record or Parquet file (text)")
    add("--validation", type=int, default=100, help="hold out one document in so many (100; 0: none)")
    add("--largest", type=float, default=4, metavar="MIB", help="refuse larger documents (4)")
    add("--partition", type=float, default=32, metavar="MIB", help="work for one task (32)")
    add("--skip-unreadable", action="store_true", help="leave damaged files out instead of ending")
    add("--workers", type=int, help="processes (one for each core)")


def amount(text: str) -> float:
    """A number as people write it: 100e9, 100B, 100,000,000,000."""
    return plain(text, "amount")


def whole(text: str) -> int:
    return plain(text, "whole")


def plain(text: str, kind: str) -> float:
    from .plan import amounts

    try:
        return getattr(amounts, kind)(text)
    except CourseError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def plan_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("what", nargs="?", metavar="MODEL", help="the same as --model: a name, or a model's config.json")
    add(
        "--model",
        help="a public one, such as llama-3-8b; the config.json of one from Hugging Face; or sizes: "
        "layers=12,hidden=768,heads=12,ffn=2048,vocab=32000",
    )
    add(
        "--config",
        metavar="FILE",
        help="model, batch and [parallel] of a file for scaleup train, such as data/first-run.toml",
    )
    add(
        "--machine",
        help="a name in data/machines.yml, such as lumi-g; or an own one: device=H100,devices_per_node=8, or "
        "a file of JSON or TOML with such facts",
    )
    add("--nodes", type=whole, help="how many whole nodes (1 if not given)")
    add("--devices", type=whole, help="so many devices of one node")
    add("--seq", type=whole, default=4096, help="tokens of a sequence (4096)")
    add("--global-batch", type=whole, default=1024, help="sequences of a step (1024)")
    add("--tokens", type=amount, default=0.0, help="tokens of the whole training, such as 100e9 or 100B")
    for way, kind in (("tp", "tensor"), ("pp", "pipeline"), ("cp", "context"), ("ep", "expert")):
        add(f"--{way}", type=whole, help=f"ways of {kind} parallelism; without a layout the best is searched")
    add("--vp", type=whole, help="chunks of the model in each pipeline stage")
    add("--zero", type=whole, help="stage of ZeRO, 0 to 3")
    add("--micro-batch", type=whole, help="sequences that a device works on at once")
    add("--recompute", help="none, selective or full")
    add("--software", default="megatron", help="the training program (megatron)")
    add("--precision", choices=("bf16", "fp8"), default="bf16", help="of the matrix products (bf16)")
    add("--price", type=amount, default=0.0, help="price of one unit of the machine's bill")
    add(
        "--deadline",
        type=amount,
        metavar="HOURS",
        help="the cheapest number of nodes, up to --nodes, in time",
    )
    add(
        "--budget", type=amount, metavar="NODE_HOURS",
        help="the quickest number of nodes, up to --nodes, within so many",
    )  # fmt: skip
    add("--scale", action="store_true", help="how many nodes, up to --nodes, still pay")
    add("--largest", type=amount, metavar="NODE_HOURS", help="the largest public model within so many")
    add(
        "--measured",
        metavar="STEPS",
        help="measured steps of this training: 3,910tok/s@8 (of one device, on 8), 7.2s@8, or a study.json",
    )
    add("--json", action="store_true", help="print the plan as JSON")
    add("--batch", metavar="FILE.csv", help="predict every row of a table of runs")
    add("--out", metavar="OUT.csv", help="a file for the predicted table")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one command. Modules are imported here, so that each command loads only what it needs."""
    match arguments.command:
        case "doctor":
            from .computer import doctor

            return doctor.main(as_json=arguments.json)
        case "prepare" if arguments.folder or arguments.out:
            from .text.prepare import prepare_shell

            prepare_shell.main(arguments)
        case "prepare":
            from .text import corpus

            text = corpus.prepare(arguments.corpus)
            print(
                f"{len(text.tokens('train')):,} training and {len(text.tokens('valid')):,} validation tokens."
            )
        case "train":
            from . import config, train

            settings = config.load(arguments.config)
            history = train.train(settings, anew=arguments.anew)
            if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0:
                last = history[-1]
                print(
                    f"step {last.step + 1}: loss {last.loss:.3f}, validation loss {last.validation_loss:.3f}"
                )
                print(f"metrics and model are in .scaleup/runs/{settings.out}")
        case "export":
            from . import checkpoint

            print(f"Wrote {checkpoint.export_run(arguments.run, Path(arguments.out))}")
        case "watch":
            from .watch import live

            live.main(arguments.run, arguments.port, arguments.once, arguments.peak)
        case "practice":
            return run_practice(arguments)
        case "job":
            from .machines import job

            job.main(arguments)
        case "study":
            from .study import studying

            return studying.main(arguments)
        case "plan":
            if arguments.batch or arguments.out:
                from .plan.evidence import predict_table

                predict_table.main(arguments.batch, arguments.out)
            else:
                from .plan import shell

                shell.main(arguments)
        case "propose":
            from .proposal import proposing

            return proposing.main(arguments)
        case "access":
            from .access import interview

            interview.main(arguments)
        case "explain":
            from .explain import findings

            return findings.main(arguments.log, as_json=arguments.json)
        case "check":
            from . import exercises

            return exercises.check_lesson(arguments.lesson)
        case "progress":
            from . import exercises

            print(exercises.progress_table())
        case "reset":
            from . import exercises

            exercises.reset(arguments.lesson)
    return 0


def run_practice(arguments: argparse.Namespace) -> int:
    from .practice import cluster

    match arguments.action:
        case "up":
            cluster.up(arguments.nodes, arguments.link, arguments.mode)
            print(cluster.status())
        case "down":
            from .practice import keeper

            schedulers = keeper.end()
            stopped = cluster.down() or schedulers
            print("Stopped." if stopped else "It was not up.")
        case "status":
            from .practice import checking

            print("\n\n".join(filter(None, (cluster.status(), checking.kept_sentence()))))
            return 0 if cluster.is_up() and not cluster.dead_parts() else 1
        case "shell":
            return cluster.shell()
        case "check":
            from .practice import checking

            return checking.main(
                Path(arguments.script), arguments.machine, arguments.json, arguments.fix, arguments.once
            )
    return 0


def main(words: list[str] | None = None) -> int:
    """Exit status 0: done. 1: done, and something is not right yet. 2: it could not be done, and why."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ shows a question mark
    arguments = parser().parse_args(words)
    try:
        status = run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"scaleup: nothing more can be written: {error.strerror}. Make room.", file=sys.stderr)
        return 2
    except CourseError as error:
        print(f"scaleup: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "scaleup":
            raise
        print(
            f"scaleup: the package '{error.name}' is missing from {sys.executable}. "
            f"Run 'make setup', then use .venv/bin/scaleup.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\nscaleup: stopped; what was finished is kept.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
