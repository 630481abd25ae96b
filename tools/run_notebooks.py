"""Run the course's notebooks anew and store their outputs in one normal form (`make outputs`)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat

from scaleup.lab import KERNEL, LANGUAGE
from scaleup.notebook.execute import execute
from scaleup.paths import root

WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}


def notebooks() -> list[Path]:
    """Every notebook with stored outputs: the lessons and the solutions of the exercises."""
    folders = (root() / "notebooks", root() / "exercises" / "solutions")
    return sorted(p for f in folders for p in f.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def store(path: Path) -> float:
    """Run a notebook in a fresh kernel and store it; returns seconds. Raises CellExecutionError."""
    start = time.perf_counter()
    notebook = execute(path, cell_limit=300)
    normalise(notebook)
    nbformat.write(notebook, path)
    return time.perf_counter() - start


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Keep what readers see; drop what differs from machine to machine."""
    kept = {"scaleup": notebook.metadata["scaleup"]} if "scaleup" in notebook.metadata else {}
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE, **kept})
    for cell in notebook.cells:
        folds = {k: v for k, v in cell.metadata.get("mystnb", {}).items() if k.startswith("code_prompt_")}
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in ("tags",)})
        if folds:  # the words on a folded cell in the book
            cell.metadata["mystnb"] = folds
        if {"hide-cell", "hide-input"} & set(cell.metadata.get("tags", [])):  # JupyterLab folds it, too
            cell.metadata["jupyter"] = {"source_hidden": True}
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            output.get("data", {}).pop(WIDGET, None)  # a page keeps what a widget shows, not the widget
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:  # the book's builder reads a picture's alternative text from the cell
                cell.metadata["mystnb"] = {**folds, "image": {"alt": alt}}


def joined(outputs: list) -> list:
    """Printed pieces that arrived one after another become one: where they were cut is chance."""
    kept: list = []
    for output in outputs:
        before = kept[-1] if kept else None
        if before and output.output_type == before.output_type == "stream" and output.name == before.name:
            before.text += output.text
        else:
            kept.append(output)
    return kept


def compared_share() -> tuple[int, int]:
    """(cells whose output nbval compares, cells that have an output), over all notebooks."""
    with_output = [
        cell
        for path in notebooks()
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and cell.outputs
    ]
    compared = [cell for cell in with_output if not NOT_COMPARED & set(cell.metadata.get("tags", []))]
    return len(compared), len(with_output)


def main() -> None:
    if sys.argv[1:] == ["--share"]:
        compared, total = compared_share()
        print(f"nbval compares {compared} of {total} cells with output: {compared / total:.0%}")
        return
    for path in [Path(p).resolve() for p in sys.argv[1:]] or notebooks():
        print(f"{path.relative_to(root())}: {store(path):.0f} s", flush=True)
    from scaleup.exercises import starters

    starters.derive_all()


if __name__ == "__main__":
    main()
