"""The pages of `book/access/` and the rules of their script: python -m tools.access_pages."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from html import escape

from scaleup import machines
from scaleup.access import Company, doors, find_route, modes, section
from scaleup.access.exported import for_the_page
from scaleup.access.route import whole
from scaleup.access.route_rules import INDUSTRIAL, machine_units, rules
from scaleup.files import read_data
from scaleup.machines import Fact
from scaleup.paths import root
from scaleup.words import markdown_table

from .machine_pages import footnote, mark, plain, shown

GENERATED = (
    "% Generated from data/access.yml by `python -m tools.access_pages`: edit the data or that script."
)
PAGES, SCRIPT = "book/access", "book/_static/access-rules.js"
MFU = 0.4  # of the worked examples on the FLOP line

CHECK = """\
The calls' own pages could not be opened: sizes, days and cut-offs come from guides that cite them and from
users, each with its day. Read the call's page before you rely on a number."""


class Cited:
    """Facts as text with footnotes, and the list of footnotes that a page then needs."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}

    def mark(self, fact: Fact) -> str:
        """The footnotes of a fact."""
        for source in fact.sources:
            self.sources[source.key] = footnote(source)
        return mark(fact.sources)

    def value(self, fact: Fact) -> str:
        """A value with its footnotes and its note, for a cell of a table."""
        told = plain(fact.note).replace(doors.CONFLICT, "sources differ")
        if fact.value is None and fact.note:
            return told
        note = f" ({told})" if told else ""
        return f"{value(fact)}{note} {self.mark(fact)}".rstrip()

    def short(self, fact: Fact) -> str:
        """The same without the note."""
        return f"{value(fact)} {self.mark(fact)}".rstrip()

    def footnotes(self) -> str:
        return "\n".join(self.sources.values())


def value(fact: Fact) -> str:
    """A value as text: thousands apart, days as they are, unknown for null."""
    found = fact.value
    if isinstance(found, datetime.date):
        return found.isoformat()
    if isinstance(found, float) and found >= 1e6:
        mantissa, power = f"{found:.1e}".split("e+")
        return ("" if mantissa == "1.0" else f"{mantissa} × ") + f"10{{sup}}`{int(power)}`"
    if isinstance(found, int | float) and not isinstance(found, bool):
        return f"{found:,}"
    if isinstance(found, list):
        return ", ".join(plain(item) for item in found) or "none known"
    if isinstance(found, dict):
        return ", ".join(f"{plain(name)}: {plain(what)}" for name, what in found.items())
    return shown(found)


def page(title: str, body: str, cited: Cited | None = None) -> str:
    """A generated page: title, body, footnotes."""
    notes = f"\n\n{cited.footnotes()}" if cited and cited.sources else ""
    return f"{GENERATED}\n\n# {title}\n\n{body.strip()}{notes}\n"


def names_of(keys: Iterable[str] | None) -> str:
    units = machine_units()
    return ", ".join(units[key]["name"] for key in keys or ()) or "unknown"


def size(mode: doors.Mode) -> str:
    """What it gives, in words: from the least to the most, in its unit."""
    least, most = mode["least"].value, mode["most"].value
    return f"{least:,} to {most:,} {mode['unit']}s" if least else f"up to {most:,} {mode['unit']}s"


def months(mode: doors.Mode) -> str:
    given = [str(number) for number in mode["months"].value]
    return given[0] if len(given) == 1 else f"{', '.join(given[:-1])} or {given[-1]}"


def waiting_fact(mode: doors.Mode) -> str:
    """The field that says how long it takes."""
    return "decision_days" if mode["decision_days"].value else "start_days"


def waiting(mode: doors.Mode) -> str:
    """How long from the application, or from the cut-off, to the first day of computing."""
    days, start = mode["decision_days"].value, mode["start_days"].value
    after = " after the cut-off" if mode["cut_offs"].value is not None or mode["cut_off_day"].value else ""
    return f"{days} working days{after}" if days else f"about {start} days{after}"


# ---------------------------------------------------------------- the pages


def index_page() -> str:
    """What to do tomorrow, an hour's path, who helps."""
    cited, known = Cited(), modes()
    play, fast, large = (known[key] for key in INDUSTRIAL)
    company = section("company")
    rows = [
        [f"**{entry['name']}**", cited.value(entry["what"]), cited.value(entry["contact"])]
        for entry in doors.entries("help").values()
    ]
    aged = [fact for fact in doors.by_age() if fact.newest]
    path = [
        ["5", "[Which route fits you](which-route.md), eleven questions on one page",
             "which door is yours, from when, and what is in the way"],
        ["10", "[Plan a run](../plan.md): your model, your tokens, a machine", "how many hours you need"],
        ["15", "[Is it worth it?](../../notebooks/5-decide-and-prove/worth-it.ipynb), the pictures and "
             "boxes", "what a cloud or servers of your own would cost instead"],
        ["10", "[All routes compared](routes.md)", "size, months, days and price of each, and the "
             "competitions"],
        ["5", "[Data on shared machines](data.md)", "whether your data may go there, and what to sign "
             "first"],
        ["5", "[The AI Act's line](ai-act.md)", "whether your training is near it"],
        ["5", "[After the award](after-an-award.md)", "what binds you once the hours are yours"],
        ["5", "the message below", "who reads your draft for free"],
    ]  # fmt: skip
    body = f"""\
An SME or start-up gets machine time on EuroHPC's supercomputers for free: about {play["most"].value:,}
{play["unit"]}s within {play["decision_days"].value} working days ({play["name"]}
{cited.mark(play["decision_days"])}), {size(fast)} within {fast["decision_days"].value} ({fast["name"]}
{cited.mark(fast["decision_days"])}), and more than that within {large["decision_days"].value} working days
of a cut-off, of which there are two a month ({large["name"]} {cited.mark(large["decision_days"])}). It has
to be established {company["established"]} {cited.mark(company["established"])}.

A **GPU-hour** is one GPU for one hour; a **node** is one computer of the machine, with four or eight GPUs.
An **SME** is a company within the EU's limits for people and money, those of linked companies included:
[which](routes.md).

## Tomorrow, in one sentence

:::{{important}}
Open [{play["apply"]}](https://{play["apply"]}) and apply for **{play["name"]}** in the call
*{play["call"]}*, with a declaration that you are an SME and one page on what you compute, and you know
within {play["decision_days"].value} working days.
:::

That sentence is for an SME or start-up that has never used a supercomputer. If you are something else, need
more or are not sure, answer [which route fits you](which-route.md) first. The address is
[{play["apply"]}](https://{play["apply"]}) {cited.mark(play["apply"])}; {plain(play["apply"].note)}. {CHECK}

## One hour for a founder

{markdown_table(["minutes", "read or do", "then you know"], path)}

```text
To: the national competence centre, or the AI factory, of our country
We are N people who ... . We want to train (or tune) ... of ... parameters on ... tokens.
We computed ... GPU-hours on ... and would apply for ... access on ... .
We have used (never used) a supercomputer; our data are ... and we hold the rights by ... .
Which machine is free, who signs the agreement on data, and may you read our draft?
```

Then your engineers take [the lesson on access](../../notebooks/5-decide-and-prove/access.ipynb), measure,
and write the proposal.

## Who helps

{markdown_table(["who", "what", "contact"], rows)}

Which factory or antenna is yours: [which route fits you](which-route.md) names it by your country.

## Every question has a page

- [Which route fits you](which-route.md): questions, answers, and the same rules as a table.
- [All routes compared](routes.md): modes, sizes in each machine's unit, competitions, other ways.
- [The machines as a whole](machines-as-a-whole.md): one account, fast lines, what runs there, what is to
  come.
- [Moving between your cluster, a cloud and EuroHPC](moving.md), with the pilot of Mistral AI.
- [Data on shared machines](data.md), [the AI Act's line](ai-act.md), [after the award](after-an-award.md).
- [Every fact by age](facts-by-age.md): {len(aged)} facts, whose newest sources are from {aged[0].newest} to
  {aged[-1].newest}; what to read again first.
"""
    return page("Time on EuroHPC's machines", body, cited)


def routes_page() -> str:
    """Every mode, its sizes in the machines' units, competitions, other ways."""
    cited, known, company = Cited(), modes(), section("company")
    table = [
        [
            f"**{mode['name']}**",
            f"{size(mode)} {cited.mark(mode['most'])}",
            f"{months(mode)} {cited.mark(mode['months'])}",
            f"{waiting(mode)} {cited.mark(mode[waiting_fact(mode)])}",
            cited.short(mode["status"]),
        ]
        for mode in known.values()
    ]
    whom = [
        [
            f"**{mode['name']}**",
            cited.short(mode["for_whom"]),
            cited.short(mode["decided"]),
            cited.short(mode["price"]),
        ]
        for mode in known.values()
    ]
    cut_offs = [
        [f"**{mode['name']}**", cited.value(mode["cut_offs"]),
             cited.value(mode["machines"]) if not mode["machines"].value
         else f"{names_of(mode['machines'].value)} {cited.mark(mode['machines'])}",
              cited.short(mode["apply"])]
        for mode in known.values()
    ]  # fmt: skip
    conflicts = [
        f"- **{place(fact.place)}**: {plain(fact.fact.note.removeprefix(doors.CONFLICT).lstrip(': '))} "
        f"{cited.mark(fact.fact)}."
        for fact in doors.by_age()
        if fact.fact.note.startswith(doors.CONFLICT)
    ]
    contests = [
        [
            f"**{entry['name']}**",
            *(cited.value(entry[name]) for name in ("announced", "awarded", "in_return", "status")),
        ]
        for entry in doors.entries("competitions").values()
    ]
    ways = [
        [f"**{entry['name']}**", cited.short(entry["what"]), cited.value(entry["price"])]
        for entry in doors.entries("elsewhere").values()
    ]
    shares = [
        f"- {100 * company[name].value:g} %: {plain(company[name].note)} {cited.mark(company[name])}."
        for name in ("share_petascale", "share_large", "share_industry", "share_fast")
    ]
    body = f"""\
There are {len(known)} modes of access: three for companies that work on AI, counted in GPU-hours, and five
calls for science, the public sector and open work of companies, counted in node-hours.
[Which route fits you](which-route.md) chooses one of them. {CHECK}

## Size and time

{markdown_table(["mode", "size", "months", "until you compute", "status"], table)}

## For whom, how it is decided, at what price

{markdown_table(["mode", "for whom", "decided by", "price"], whom)}

Who may ask at all is whoever is established {cited.short(company["established"])}. An SME has fewer than
{value(company["staff"])} people and a turnover of at most EUR {value(company["turnover_eur"])} or a balance
sheet of at most EUR {value(company["balance_eur"])}, linked and partner companies included
{cited.mark(company["staff"])}; {plain(company["declaration"])} {cited.mark(company["declaration"])}. The
machines' time is for purposes that are {cited.short(company["purpose"])}.

## Cut-offs, machines, where to apply

{markdown_table(["mode", "cut-offs", "machines", "where to apply"], cut_offs)}

A cut-off is at {value(company["deadline_hour"])}, {plain(company["deadline_hour"].note)}
{cited.mark(company["deadline_hour"])}. Also, {cited.short(company["partitions"])}.

## The sizes in each machine's unit

A GPU-hour is one device for one hour, but not everywhere: LUMI bills modules of two devices. That the calls
count as LUMI bills is likely and was not found. Four GPUs of a node for an hour are one node-hour.

{unit_table()}

## Where sources differ

{chr(10).join(conflicts)}

## Shares

The JU gives out a part of each machine, the hosting nations the rest.

{chr(10).join(shares)}

## Competitions

{markdown_table(["competition", "what was announced", "what was awarded", "in return", "status"], contests)}

None of them was open when these facts were read, on {doors.content()["read"]}.

## Other ways

{markdown_table(["way", "what it is", "price"], ways)}
"""
    return page("All routes compared", body, cited)


def unit_table() -> str:
    """The ends of the industrial modes in node-hours and in what each machine bills."""
    known = modes()
    ends = [known["playground"]["most"].value, known["fast-lane"]["most"].value]
    rows = []
    for key, unit in machine_units().items():
        if key == "any":
            continue
        cells = []
        for hours in ends:
            nodes = hours / unit["gpus"]
            billed = "unknown" if unit["cost"] is None else whole(nodes * unit["cost"])
            cells += [whole(nodes), billed]
        rows.append([unit["name"], f"{unit['gpus']}", *cells, plain(unit["unit"])])
    header = ["machine", "GPUs of a node"]
    for hours in ends:
        header += [f"{hours:,} GPU-hours in node-hours", "as billed"]
    return markdown_table([*header, "unit of the bill"], rows)


def place(path: str) -> str:
    """'modes, fast-lane, least' as 'Fast Lane, least'."""
    parts = path.split(", ")
    if parts[0] == "modes":
        return f"{modes()[parts[1]]['name']}, {doors.FIELDS[parts[2]][1]}"
    return ", ".join(part.replace("_", " ").replace("-", " ") for part in parts)


def field(question: dict) -> str:
    """One question as HTML."""
    key, asks = question["key"], escape(question["asks"])
    chosen = " selected"
    if question["options"]:
        usual, given = question["usual"], question["options"].items()
        options = "".join(
            f'<option value="{escape(word)}"{chosen if word == usual else ""}>{escape(said)}</option>'
            for word, said in given
        )
        return f'<label>{asks} <select name="{key}">{options}</select></label>'
    if key == "ready":
        return f'<label>{asks} <input name="ready" type="date" required></label>'
    least, most = (0, 10**9) if key == "hours" else (1, 60)
    kind = f'type="number" min="{least}" max="{most}" step="1" value="{question["usual"]}"'
    return f'<label>{asks} <input name="{key}" {kind} required></label>'


def form() -> str:
    """The questionnaire as HTML. A script answers it; without one it says so."""
    asked = for_the_page()["questions"]
    who = "".join(field(question) for question in asked[:3])
    what = "".join(field(question) for question in asked[3:])
    return f"""\
```{{raw}} html
<form id="access" class="planner">
<fieldset><legend>Who you are</legend>{who}</fieldset>
<fieldset><legend>What you need</legend>{what}</fieldset>
<p><button type="submit">Find our route</button></p>
<noscript><p>This needs JavaScript. The table below has the same rules' answers.</p></noscript>
</form>
<div id="access-answer" tabindex="-1" role="region" aria-label="Your route"></div>
<script src="../../_static/access-rules.js"></script>
<script src="../../_static/access.js" type="module"></script>
```"""


# Typical organisations of the table: words, answers.
TYPICAL = (
    ("SME, never used a supercomputer", {"hours": 0}),
    ("SME, never used a supercomputer", {"hours": 3000}),
    ("SME, never used a supercomputer", {"hours": 20000}),
    ("SME, never used a supercomputer", {"hours": 300000, "months": 6}),
    ("SME that knows one", {"hours": 7000, "readiness": "user"}),
    ("SME that knows one", {"hours": 20000, "readiness": "user"}),
    ("SME with a scaling study", {"hours": 300000, "readiness": "measured", "months": 6}),
    ("SME whose rights to the data are unclear", {"hours": 20000, "readiness": "user", "data": "unclear"}),
    ("SME that simulates and publishes", {"hours": 8000, "purpose": "simulate", "results": "open"}),
    ("SME that simulates and does not publish", {"hours": 8000, "purpose": "simulate"}),
    ("SME that serves customers", {"hours": 3000, "purpose": "serve"}),
    ("larger company that does not publish", {"hours": 20000, "kind": "large", "readiness": "user"}),
    ("larger company that publishes", {"hours": 20000, "kind": "large", "readiness": "user",
         "results": "open", "months": 12}),
    ("university, no scaling study", {"hours": 8000, "kind": "research", "results": "open"}),
    ("university, no scaling study", {"hours": 120000, "kind": "research", "results": "open", "months": 6}),
    ("university with a scaling study", {"hours": 120000, "kind": "research", "results": "open",
         "months": 6, "readiness": "measured"}),
    ("university with a scaling study", {"hours": 2000000, "kind": "research", "results": "open",
         "months": 12, "readiness": "measured"}),
    ("SME in a country that is not associated", {"country": "another country", "hours": 3000}),
)  # fmt: skip


def twin_table() -> str:
    """The route of typical organisations, as text."""
    rows = []
    for who, answers in TYPICAL:
        found = find_route(Company(**{"country": "Germany", "ready": doors.content()["read"]} | answers))
        begins = found.start.isoformat() if found.start else "not known"
        rows.append([who, f"{answers['hours']:,}", plain(found.headline), begins])
    read = doors.content()["read"]
    return markdown_table(["organisation", "GPU-hours", "route", f"first day, asked on {read}"], rows)


def rule_table(effects: Sequence[str]) -> str:
    """The sentences of rules of these effects, by the modes that they are said of."""
    known = {key: str(mode["name"]) for key, mode in modes().items()}
    rows = []
    for rule in rules():
        if rule.effect in effects:
            whose = (
                "all modes"
                if len(rule.doors) == len(known)
                else ", ".join(known[door] for door in rule.doors)
            )
            rows.append([whose, plain(rule.says)])
    return markdown_table(["mode", "what is said"], rows)


def which_route_page() -> str:
    """The questionnaire, and its twin as tables."""
    listed = section("countries")
    cited = Cited()
    body = f"""\
Eleven questions, and your route: which mode of access, why, what is in the way, from which day, what to
prepare and who helps. What you enter stays in your browser. In a shell, `scaleup access` asks the same and
answers by the same rules. [How many GPU-hours?](../plan.md) The planner computes them; 0 means that you do
not know yet.

{form()}

{CHECK}

## The same as a table

What typical organisations in a member state are told; all train models unless said otherwise. A first day
counts working days from Monday to Friday; public holidays are not known to the rules.

{twin_table()}

## What closes a door

{rule_table(["closed"])}

## What has to come first

{rule_table(["first"])}

## Which countries

- Member states: {cited.value(listed["member"])}.
- Associated {cited.value(listed["associated"])}.
- Associated in part: {cited.value(listed["part"])}.

A country that is in none of the lists is not known to be eligible.
"""
    return page("Which route fits you?", body, cited)


def whole_page() -> str:
    """What the machines are together: one account, lines, exascale, twins, to come."""
    cited, context, after = Cited(), section("context"), section("after")
    running, later = machines.operational(), machines.announced()
    devices = {key: (m["nodes"].value or 0) * m["devices_per_node"].value for key, m in running.items()}
    largest = sorted(devices, key=devices.get, reverse=True)[:4]
    rows = [
        [
            f"[{plain(running[key]['name'])}](../machines/{key}.md)",
            plain(running[key]["country"]),
            f"{devices[key]:,}",
            plain(running[key]["device"]),
            f"{devices[key] * running[key]['peak_bf16_tflops'].value / 1e6:.1f}",
        ]
        for key in largest
    ]
    coming = [
        [plain(m["name"]), plain(m["country"]), plain(m["expected"]) if "expected" in m else "unknown"]
        for m in later.values()
    ]
    body = f"""\
EuroHPC's machines are separate computers in {len({str(m["country"]) for m in running.values()})} countries
with {sum(devices.values()):,} devices in the {len(running)} partitions that this course describes. They are
growing together: one account, fast lines between them, and calls that name several of them. A training run
uses one machine at a time.

## The largest that run today

{markdown_table(["machine", "country", "devices", "a device is", "peak, exaflop/s in bf16"], rows)}

The peak is devices times the vendor's dense figure; no run reaches it. **Exascale** is a word for 1
exaflop/s in 64-bit arithmetic, a different measure: JUPITER is the first European machine of that class,
and Alice Recoque is to be the second ([machines to come](../machines/to-come.md)).
[All machines compared](../machines/index.md) has the rest, each fact with its source.

## The federation

- One account: {cited.value(context["federation"])}. What it means for you: {cited.value(after["accounts"])}.
- Fast lines: {cited.value(context["links"])}. The lesson
  [Is it worth it?](../../notebooks/5-decide-and-prove/worth-it.ipynb)
  computes what a line means for your data.

## What they carry

**Destination Earth** is {cited.value(context["destination_earth"])}. About
{cited.short(context["destination_earth_speed"])} simulated days pass in a day. It uses strategic access,
which is no route for a start-up; it shows that these machines run for weeks on thousands of devices.

**Virtual human twins** are {cited.value(context["human_twins"])}. A twin of a patient needs
the patient's data: [data on shared machines](data.md) says what that takes.

## To come

{markdown_table(["machine", "country", "expected"], coming)}

None of them can be asked for in the forms that we know of; [each with its sources](../machines/to-come.md).
"""
    return page("The machines as a whole", body, cited)


def moving_page() -> str:
    """Own cluster, cloud, EuroHPC: what changes, and what is known of one company's move."""
    cited, context, after = Cited(), section("context"), section("after")
    rows = [
        ["start a job", "`torchrun` or `srun`", "an image and a start script",
             "a job script: [write one](../machines/scripts.md)"],
        ["software", "what you installed", "a container image",
             "the site's modules or container; x86 or Arm, CUDA or ROCm"],
        ["internet while it trains", "yes", "yes", "often not: stage data, models and packages before"],
        ["one job lasts", "as long as you like", "until it is taken back",
             "hours to days, then it ends: checkpoints in a chain"],
        ["files", "your disks", "object storage", "a parallel file system: few large files, not many "
             "small ones"],
        ["who else is there", "nobody", "nobody you see", "others: queues, quotas, shared storage"],
        ["may serve customers", "yes", "yes", "no: research and innovation"],
    ]  # fmt: skip
    pilot = [
        ["the pilot", f'{cited.value(context["mistral_known"])}'],
        ["machine, hours, model, transfer, cost", f'unknown: {plain(context["mistral_unknown"].note)}'],
        ["afterwards", f'{cited.value(context["mistral_later"])}'],
    ]  # fmt: skip
    body = f"""\
The same PyTorch program trains on your servers, in a cloud and on EuroHPC's machines. What changes is
around it: how it starts, where its data are, how long a job may last. Plan days for the move, not hours,
and keep one small run that you can repeat everywhere and compare.

## What changes

{markdown_table(["", "your own cluster", "a cloud", "EuroHPC"], rows)}

What is true of one machine is on [its page](../machines/index.md).

## A move in seven steps

1. Freeze a small run: model, seed, 100 steps, its losses. It is your proof in every place.
2. Put the software into a container that the target takes
  ([software](../../notebooks/4-on-the-machine/software.ipynb)).
3. Write shards, not single files ([preparing data](../../notebooks/2-data/preparing-data.ipynb)), with
  checksums.
4. Compute how long the data take over your line, and what leaving a cloud costs
   ([Is it worth it?](../../notebooks/5-decide-and-prove/worth-it.ipynb)).
5. Move checkpoints as sharded state that another number of ranks can read
   ([checkpoints](../../notebooks/4-on-the-machine/checkpoints.ipynb)).
6. Repeat the small run there, and compare the losses before the large one starts.
7. Keep the way back open: data and weights leave the machine when the project ends, so plan where they go.

## A public case: Mistral AI

{markdown_table(["what", "what is known"], pilot)}

The lesson of the officials is the reason for courses like this one. That the company moved for this or that
reason was not found, and we do not guess.

Once you have hours, {plain(after["first_month"])} {cited.mark(after["first_month"])}: move before the
project starts.
"""
    return page("Moving between your cluster, a cloud and EuroHPC", body, cited)


def data_page() -> str:
    """Personal data and data on health on machines that others use, too."""
    cited, law, after = Cited(), section("law"), section("after")
    rows = [
        ["no personal data, rights clear", "nothing beyond the licence", "apply"],
        ["texts from the web", "opt-outs, personal data inside",
             "clean first: [preparing data](../../notebooks/2-data/preparing-data.ipynb) blots out and "
             "lists"],
        ["customers' data", "their contract with you, a lawful basis",
             f"agreement with the site first: {cited.value(after['personal_data'])}"],
        ["data on health", cited.value(law["health"]), f"{cited.value(law['assessment'])}"],
        ["anonymised data", "whether they are anonymous is a judgement",
             "have it judged; pseudonymous data are personal data"],
    ]  # fmt: skip
    body = f"""\
A supercomputer is shared: other users compute on the next node and the site's staff can see the file
system. Without personal data and with clear rights there is nothing to sign beyond the call's rules. With
personal data, the site processes them for you, and a contract has to be there before the first file.

This page names the rules that decide; it is no legal advice.

## What kind of data, and what first

{markdown_table(["data", "what decides", "what to do first"], rows)}

## What the rules say

- Who computes for you: {cited.value(law["processor"])}.
- Data on health: {cited.value(law["health"])}.
- Before you start: {cited.value(law["assessment"])}.
- As one site puts it (LUMI): {cited.value(law["lumi_health"])}.

## What you can do today

1. Write down what each data set is, whose it is, and by which right you use it. Unclear rights are a
  frequent reason for refusal.
2. Take out what you do not need. Training needs fewer fields than your product does.
3. Ask the hosting site on the first day: how long the agreement takes was not found in any source.
4. Encrypt on the way, and know who of you can read the project's folder: by default, all of its members.
5. Plan the end: what is deleted, when, and who confirms it. Each [machine's page](../machines/index.md)
  says when data go.
"""
    return page("Data on shared machines", body, cited)


def flop_rows() -> list[list[str]]:
    """Sizes of models and trainings as shares of the line: 6 N D."""
    line = section("law")["flop_line"].value
    tilde = read_data("grand_challenge.yml")["tildeopen"]
    tokens = tilde["updates"]["value"] * tilde["tokens_per_update"]["value"]
    sizes = [
        ("1 billion parameters, 100 billion tokens", 1e9, 100e9),
        ("7 billion parameters, 2 trillion tokens", 7e9, 2e12),
        ("TildeOpen, a winner of the Grand Challenge (tokens: updates times their size)",
             tilde["parameters"]["value"], tokens),
        ("70 billion parameters, 15 trillion tokens", 70e9, 15e12),
        ("400 billion parameters, 15 trillion tokens", 400e9, 15e12),
    ]  # fmt: skip
    rows = []
    for words, parameters, seen in sizes:
        flops = 6 * parameters * seen
        mantissa, power = f"{flops:.1e}".split("e+")
        share = f"{float(f'{100 * flops / line:.2g}'):g} %"
        operations = f"{mantissa} × 10{{sup}}`{int(power)}`"
        rows.append([words, operations, share, "above" if flops > line else "below"])
    return rows


def line_rows() -> list[list[str]]:
    """What the line takes on each taught machine at an MFU of 40 %."""
    line = section("law")["flop_line"].value
    rows = []
    for key, machine in machines.taught().items():
        node = machine["peak_bf16_tflops"].value * 1e12 * machine["devices_per_node"].value * MFU
        hours = line / node / 3600
        months_of_all = hours / machine["nodes"].value / 24 / 30.4
        rows.append([f"[{plain(machine['name'])}](../machines/{key}.md)", f"{float(f'{hours:.2g}'):,.0f}",
                     f"{months_of_all:.1f}"])  # fmt: skip
    return rows


def ai_act_page() -> str:
    """The AI Act's line for a run."""
    cited, law = Cited(), section("law")
    most = modes()["extreme"]["most"]
    body = f"""\
The AI Act draws a line at 10{{sup}}`25` operations of training {cited.mark(law["flop_line"])}: a
general-purpose model above it is presumed to have high-impact capabilities, with duties of its own. The
work of a training is about 6 × parameters × tokens. A model below the
line can still be a general-purpose model.

## Your run

```{{raw}} html
<form id="flop-line" class="planner">
<fieldset><legend>Operations of a training: 6 × parameters × tokens</legend>
<label>Parameters, billions <input name="parameters" type="number" min="0" step="any" value="7"
required></label> <label>Tokens, billions <input name="tokens" type="number" min="0" step="any" value="2000"
required></label> </fieldset>
<p><button type="submit">Compare with the line</button> <span role="status" id="flop-answer"></span></p>
<noscript><p>This needs JavaScript. The table below has examples.</p></noscript>
</form>
<script src="../../_static/access-rules.js"></script>
<script src="../../_static/access.js" type="module"></script>
```

{markdown_table(["training", "operations", "share of the line", "above or below"], flop_rows())}

In a mixture of experts, N counts the parameters that a token meets. Recomputed activations are work of the
machine; whether they count for the Act was not found in what we read: say how you counted.

## What the line takes

At an MFU of {MFU:.0%}, operations over peak × {MFU:g}, in node-hours and in months of the whole partition:

{markdown_table(["machine", "node-hours", "months of all nodes"], line_rows())}

The largest mode of access that we know, {modes()["extreme"]["name"]}, gives about {value(most)} node-hours
{cited.mark(most)}.

## What counts, and what follows

- What counts is {cited.short(law["flop_line_counts"])}. A model that you only tune brought its own
  operations; how a tuned
  model is counted is in guidelines of the Commission, which we could not open. Ask.
- Every provider of a general-purpose model: {cited.value(law["duties_of_all"])}.
- Above the line as well: {cited.value(law["duties_above"])}.
- {plain(law["flop_line"].note[0].upper() + law["flop_line"].note[1:])}.

Keep a record while you train: parameters, tokens, hours, MFU, kWh. The course's runs write it; a model card
needs it. This page is no legal advice.
"""
    return page("The AI Act's line, for your run", body, cited)


def after_page() -> str:
    """What binds after an award."""
    cited, after, company = Cited(), section("after"), section("company")
    epicure = doors.entries("help")["epicure"]
    duties = [
        ["with the letter", f'{cited.value(after["start"])}'],
        ["first days", f'{cited.value(after["accounts"])}'],
        ["first days", f'{cited.value(after["partition"])}'],
        ["before data move", f'{cited.value(after["personal_data"])}'],
        ["first month", f'{cited.value(after["first_month"])}'],
        ["each month", f'{cited.value(after["pattern"])}'],
        ["whenever you need help", f'{plain(epicure["name"])}: {cited.value(epicure["what"])}'],
        ["when you publish", f'{cited.value(after["acknowledge"])}'],
        [f'{value(after["report"])} months after the end', f'the final report {cited.mark(after["report"])}'],
    ]  # fmt: skip
    body = f"""\
Use the hours from the first month on, watch how fast they burn, and write the final report within
{value(after["report"])} months of the end {cited.mark(after["report"])}. What follows is in the order in
which it meets you; most of it is known from users of single machines, so read your award letter first.

{markdown_table(["when", "what"], duties)}

In the classic modes the bargain is: {cited.value(company["open_results"])}. The contract of the principal
investigator outlasts the allocation by {value(company["contract"])} months {cited.mark(company["contract"])}.

## The first two weeks, as a list

1. Log in, look at partitions and quota, run the
  [smoke test](../../notebooks/4-on-the-machine/multi-node.ipynb) on two nodes.
2. Repeat your small run and compare its losses with those at home.
3. Measure one node, two, four: is it the speed of the proposal? If not, ask for help now.
4. Submit the chain of jobs that end before the wall time
  ([checkpoints](../../notebooks/4-on-the-machine/checkpoints.ipynb)).
5. Write down each week: hours used, tokens seen, loss, kWh
  ([watching a run](../../notebooks/4-on-the-machine/energy-and-monitoring.ipynb)).

## When the hours will not be enough, or too many

Tell the site as soon as you know it. Hours that nobody uses count against you in the next proposal, by one
source's advice {cited.mark(company["open_results"])}.
"""
    return page("After the award", body, cited)


def age_page() -> str:
    """Every fact, the oldest first."""
    cited = Cited()
    aged = doors.by_age()
    known = [fact for fact in aged if fact.newest]
    rows = [
        [fact.newest, fact.oldest, plain(place(fact.place)), value(fact.fact), cited.mark(fact.fact)]
        for fact in known
    ]
    gaps = [
        [plain(place(fact.place)), plain(fact.fact.note) or "not found in any source read"]
        for fact in aged
        if not fact.newest
    ]
    kinds = {kind: sum(kind in fact.fact.kind.split(", ") for fact in known) for kind in doors.KINDS}
    body = f"""\
{len(known)} facts and {len(gaps)} gaps, for whoever keeps them: read again from the top. A fact's day is
that of its newest source: when it was written or, where it is undated, when it was read. All were read by
{doors.content()["read"]}. A law keeps; a cut-off does not.

{markdown_table(["kind of source", "facts that rest on it"], [[kind, str(n)] for kind, n in kinds.items()])}

Change a fact in `data/access.yml`, run `python -m tools.access_pages`, and every page, table and answer
follows.

## Every fact by age

{markdown_table(["newest source", "oldest source", "fact", "value", "sources"], rows)}

## What was not found

{markdown_table(["fact", "what is said of it"], gaps)}
"""
    return page("Every fact by age", body, cited)


def lines(value: object) -> str:
    """A value as JSON, each item of a list on a line of its own: small, and a change shows."""
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n]"


def script() -> str:
    """The rules for the page's script."""
    parts = [f"{json.dumps(key)}: {lines(value)}" for key, value in for_the_page().items()]
    rules_of_page = "{" + ",\n".join(parts) + "}"
    told = "// Generated from data/access.yml by `python -m tools.access_pages`."
    return f"{told}\nwindow.accessRules = {rules_of_page};\n"


def pages() -> dict[str, str]:
    """{file below the course's folder: text} of everything that follows from the data."""
    made = {
        "index": index_page,
        "which-route": which_route_page,
        "routes": routes_page,
        "machines-as-a-whole": whole_page,
        "moving": moving_page,
        "data": data_page,
        "ai-act": ai_act_page,
        "after-an-award": after_page,
        "facts-by-age": age_page,
    }
    return {f"{PAGES}/{name}.md": text() for name, text in made.items()} | {SCRIPT: script()}


def main() -> None:
    for name, text in pages().items():
        path = root() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(pages()) - 1} pages in {PAGES}/, and their rules in {SCRIPT}")


if __name__ == "__main__":
    main()
