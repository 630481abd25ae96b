"""The raw folder of the lesson on preparing data: real texts in seven languages from installed packages.

`interface/` holds JupyterLab's messages in six languages, a record each, and `pages/` the same messages as
pages of text, one for each part of the program. `docstrings/` holds explanations from SymPy's source: English
prose with formulas. Duplicates are in them because people repeat themselves. What is in no package, because
it may not be taken from real people, was written for the course: `letters/` (personal data, all invented) and
`mirror/` (copies with another ending). `data/corpus.yml` names packages, versions, licences and the checksum.
"""

from __future__ import annotations

import ast
import gzip
import importlib.metadata
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import CourseError
from ...files import read_data, write_whole
from ..corpus import checksum
from .documents import LICENCES

PACK = "jupyterlab-language-pack-"
LANGUAGES = ("de", "es", "fr", "it", "pl", "uk")
CONTEXT = "\x04"  # ends what gettext puts before a message to tell its uses apart
PACKED = "fr"  # one language's records are packed, because so they often come
MIRRORED = 24
PARTS = ("combinatorics", "geometry", "physics", "stats", "utilities")  # of SymPy
LETTERS = {
    "de": "Sehr geehrte Damen und Herren, bitte überweisen Sie den Betrag auf das Konto DE89 3704 0044 0532 "
    "0130 00. Bei Fragen erreichen Sie mich unter anna.muster@example.org oder +49 30 23125 000.",
    "en": "Please call me on +44 20 7946 0000 when the node 192.0.2.17 is back, or write to "
    "j.doe@example.com. The second address, 2001:db8::8a2e:370:7334, has been down since Monday.",
    "es": "Para cualquier pregunta sobre la factura escriba a contabilidad@example.es o llame al "
    "+34 910 000 000. Nuestra cuenta es ES91 2100 0418 4502 0005 1332 y no ha cambiado.",
    "fr": "Vous pouvez me joindre à l'adresse claire.exemple@example.fr ou par téléphone au "
    "+33 1 99 00 12 34. Le virement se fait sur le compte FR14 2004 1010 0505 0001 3M02 606.",
    "it": "Per la fattura scriva pure a mario.esempio@example.it, oppure chiami il numero +39 06 0000 0000. "
    "Il conto corrente resta IT60 X054 2811 1010 0000 0123 456 fino alla fine dell'anno.",
    "pl": "Proszę o kontakt pod adresem jan.przyklad@example.pl lub telefonicznie: +48 22 000 00 00. "
    "Przelew proszę wysłać na konto PL61 1090 1014 0000 0712 1981 2874 do końca miesiąca.",
}  # numbers kept for fiction and documentation, the standards' own examples, or evidently invented


@dataclass(frozen=True)
class Planted:
    """What was put into the raw folder by hand: how many documents hold personal data, or copy another."""

    personal_data: int
    near_duplicates: int


def raw_folder(folder: Path) -> Planted:
    """Write the lesson's raw texts below `folder`: text files, JSON lines and packed JSON lines, 3 MB.

    The same texts on every platform. Raises CourseError where a package is missing, of another version or
    changed, or where the folder holds other things.
    """
    facts = read_data("corpus.yml")["multilingual"]
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / LICENCES).exists():
        raise CourseError(f"{folder} holds other things. Name a new folder for the raw texts.")
    files = raw_files({about["package"]: about for about in facts["packages"]})
    found = checksum([(name, json.dumps(records, ensure_ascii=False)) for name, records in files.items()])
    if found != facts["sha256"]:
        raise CourseError("The texts in the installed packages differ from the checksum in data/corpus.yml. "
                          "Run 'make setup' to get the pinned versions.")  # fmt: skip
    for name, records in files.items():
        write_whole(folder / name, content(name, records))
    write_whole(folder / LICENCES, "letters/*: CC0-1.0  # written for the course\n'*': BSD-3-Clause\n")
    return Planted(len(LETTERS), MIRRORED)


def content(name: str, records: list[dict]) -> str | bytes:
    """What a file of this name holds: a text, or a line for each record."""
    if name.endswith(".txt"):
        return records[0]["text"] + "\n"
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return gzip.compress(lines.encode("utf-8"), mtime=0) if name.endswith(".gz") else lines


def raw_files(packages: dict[str, dict]) -> dict[str, list[dict]]:
    """{path: records} of the whole folder, in order of path."""
    files: dict[str, list[dict]] = {}
    for package, about in packages.items():
        if package == "sympy":
            files["docstrings/sympy.jsonl"] = list(docstrings(about))
            continue
        language = language_of(package)
        suffix = ".jsonl.gz" if language == PACKED else ".jsonl"
        messages = files[f"interface/{language}{suffix}"] = []
        for part, known in catalogues(about):
            texts = list(known.values())
            url = f"{about['url']}#{language}/{part}"
            messages += [{"text": text, "url": url} for text in texts]
            if len(texts) >= 3:
                files[f"pages/{language}/{part}.txt"] = [{"text": "\n".join(texts)}]
    for language, text in LETTERS.items():
        files[f"letters/{language}.txt"] = [{"text": text}]
    long = [record for record in files["docstrings/sympy.jsonl"] if len(record["text"].split()) > 80]
    files["mirror/copies.jsonl"] = [
        {"text": f"{record['text']}\n\nCopied by the mirror as number {number}.", "url": record["url"]}
        for number, record in enumerate(long[:: len(long) // MIRRORED][:MIRRORED], 1)
    ]
    return dict(sorted(files.items()))


def package_files(about: dict) -> list[importlib.metadata.PackagePath]:
    """The files of an installed package, in order. Raises CourseError unless its version is the entry's."""
    name, version = about["package"], about["version"]
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found != version:
        raise CourseError(f"The lesson's texts come from {name} {version}, and "
                          f"{found or 'none'} is installed. Run: pip install {name}=={version}")  # fmt: skip
    return sorted(importlib.metadata.files(name) or [], key=str)


def catalogues(about: dict) -> Iterator[tuple[str, dict[str, str]]]:
    """(part of the program, {English message: the same in the package's language})."""
    for file in package_files(about):
        if file.suffix == ".json" and "locale" in file.parts:
            known = json.loads(file.locate().read_text(encoding="utf-8"))
            forms = {
                key: form if isinstance(form, str) else form[0] for key, form in known.items() if key and form
            }
            if messages := {key: form.strip() for key, form in sorted(forms.items()) if form.strip()}:
                yield PurePosixPath(file).stem, messages


def sentences(language: str) -> dict[str, str]:
    """{English message: the same in `language`, one of LANGUAGES}, from all parts of the program.

    Only what somebody translated, and without the context that may stand before a message.
    """
    packages = read_data("corpus.yml")["multilingual"]["packages"]
    known = {language_of(about["package"]): about for about in packages}
    if language not in LANGUAGES:
        raise CourseError(f"There are messages in {', '.join(LANGUAGES)}, and none in '{language}'.")
    found = [pair for _, part in catalogues(known[language]) for pair in part.items()]
    pairs = [(key.rpartition(CONTEXT)[2], form) for key, form in found]
    return {english: form for english, form in pairs if form != english}


def language_of(package: str) -> str:
    """The code in a language pack's name: "de" of jupyterlab-language-pack-de-DE."""
    return package.removeprefix(PACK)[:2] if package.startswith(PACK) else "en"


def docstrings(about: dict) -> Iterator[dict]:
    """Every explanation of a module, class or function in some parts of SymPy, as a record."""
    explained = ast.Module | ast.ClassDef | ast.FunctionDef
    for file in package_files(about):
        top, *rest = file.parts
        if file.suffix != ".py" or top != "sympy" or rest[0] not in PARTS or "tests" in rest:
            continue
        with warnings.catch_warnings(action="ignore"):  # newer Pythons object to some of its backslashes
            tree = ast.parse(file.locate().read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, explained) and (text := ast.get_docstring(node)):
                yield {"text": text, "url": f"{about['url']}/blob/{about['version']}/{file.as_posix()}"}
