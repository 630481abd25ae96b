"""The lesson's raw folder: what data/corpus.yml says of it, and what is in it."""

import importlib.metadata
import json
from collections import Counter

import pytest

from scaleup.errors import CourseError
from scaleup.files import read_data
from scaleup.text import corpus
from scaleup.text.prepare import languages, multilingual
from scaleup.text.prepare.documents import read_folder
from scaleup.text.prepare.duplicates import normal
from scaleup.text.prepare.filters import scrub

FACTS = read_data("corpus.yml")["multilingual"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multilingual") / "raw"
    return folder, multilingual.raw_folder(folder)


def test_it_is_what_its_entry_says(raw):
    documents = list(read_folder(raw[0]))
    assert len({d.source for d in documents}) == FACTS["files"]
    assert len(documents) == FACTS["documents"]
    files = multilingual.raw_files({about["package"]: about for about in FACTS["packages"]})
    assert sum(len(r["text"].encode()) for records in files.values() for r in records) == FACTS["bytes"]
    assert {d.licence for d in documents} == {"BSD-3-Clause", "CC0-1.0"}
    for about in FACTS["packages"]:
        assert about["licence"] == "BSD-3-Clause" and about["url"].startswith("https://")
        said = importlib.metadata.metadata(about["package"])
        assert "BSD" in str(said.get_all("Classifier")) + str(said.get("License"))


def test_what_is_planted_is_there(raw):
    folder, planted = raw
    letters = [d for d in read_folder(folder) if d.source.startswith("letters/")]
    assert len(letters) == planted.personal_data
    for letter in letters:
        kinds = scrub(letter.text)[1]
        assert kinds["email"] and kinds["phone"] and (kinds["iban"] or letter.source.endswith("en.txt")), (
            letter
        )
    copies = [d for d in read_folder(folder) if d.source.startswith("mirror/")]
    assert len(copies) == planted.near_duplicates
    originals = {d.text for d in read_folder(folder) if d.source.startswith("docstrings/")}
    assert all(copy.text.rpartition("\n\n")[0] in originals for copy in copies)


def test_people_repeat_themselves_without_our_help(raw):
    texts = Counter(
        normal(d.text) for d in read_folder(raw[0]) if not d.source.startswith(("letters", "mirror"))
    )
    assert sum(count - 1 for count in texts.values()) > 500


def test_pages_are_in_the_language_of_their_folder(raw):
    pages = [d for d in read_folder(raw[0]) if d.source.startswith("pages/") and len(d.text) > 500]
    right = [languages.identify(page.text)[0] == page.source.split("/")[1] for page in pages]
    assert len(pages) > 20 and sum(right) / len(right) > 0.8


def test_a_missing_or_other_package_and_a_full_folder_are_told(tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(CourseError, match="holds other things"):
        multilingual.raw_folder(tmp_path)
    for version, said in (("9.9", "and 4.5.post3 is installed"), (None, "")):
        facts = json.loads(json.dumps(FACTS, default=str))
        facts["packages"][1]["version"] = version or FACTS["packages"][1]["version"]
        facts["packages"][1]["package"] += "" if version else "-none"
        monkeypatch.setattr(multilingual, "read_data", lambda _, facts=facts: {"multilingual": facts})
        with pytest.raises(CourseError, match=said or "and none is installed. Run: pip install"):
            multilingual.raw_folder(tmp_path / "raw")
    monkeypatch.setattr(multilingual, "read_data", lambda _: {"multilingual": {**FACTS, "sha256": "0"}})
    with pytest.raises(CourseError, match="differ from the checksum"):
        multilingual.raw_folder(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_the_same_message_is_had_in_every_language():
    french = multilingual.sentences("fr")
    assert french["Cancel"] == "Annuler" and len(french) > 2900
    assert not any("\x04" in message or message == own for message, own in french.items())
    with pytest.raises(CourseError, match="messages in de, es, fr, it, pl, uk, and none in 'xx'"):
        multilingual.sentences("xx")


def test_it_is_no_corpus_to_train_on_as_it_is():
    with pytest.raises(CourseError, match="no corpus 'multilingual'. data/corpus.yml knows: python-source"):
        corpus.manifest("multilingual")
