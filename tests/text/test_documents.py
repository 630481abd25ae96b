"""Files become documents: every kind, in blocks of any size, and one sentence for what cannot be read."""

import builtins
import gzip
import json
import os
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleup.errors import CourseError
from scaleup.text.prepare.documents import MIB, Block, Reading, blocks, find, partitions, read, read_folder


def write_lines(path, records):
    path.write_bytes(b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in records))


def texts(folder):
    return [document.text for document in read_folder(folder)]


def sentence(folder, **changes):
    with pytest.raises(CourseError) as caught:
        list(read_folder(folder, Reading(**changes)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_kind_of_file_is_read_with_source_position_licence_and_address(tmp_path):
    (tmp_path / "a.txt").write_text("Grüße", encoding="utf-8")
    write_lines(tmp_path / "b.jsonl", [{"text": "first"}, {"text": "second", "url": "https://example.org/2"}])
    (tmp_path / "c.ndjson.gz").write_bytes(gzip.compress(b'{"text": "packed", "license": "MIT"}\n', mtime=0))
    (tmp_path / "sub").mkdir()
    table = pyarrow.table({"text": ["row 0", "row 1"], "licence": ["CC0-1.0", None], "other": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "sub" / "d.parquet")
    (tmp_path / "licences.yml").write_text("'*.txt': CC-BY-4.0\nsub/*: ODC-By-1.0\n")
    found = [(d.source, d.position, d.text, d.licence, d.url) for d in read_folder(tmp_path)]
    assert found == [
        ("a.txt", 0, "Grüße", "CC-BY-4.0", ""),
        ("b.jsonl", 0, "first", "unknown", ""),
        ("b.jsonl", 18, "second", "unknown", "https://example.org/2"),
        ("c.ndjson.gz", 0, "packed", "MIT", ""),
        ("sub/d.parquet", 0, "row 0", "CC0-1.0", ""),
        ("sub/d.parquet", 1, "row 1", "ODC-By-1.0", ""),
    ]


def test_files_are_found_in_order_and_others_are_named(tmp_path):
    for name in ("b.txt", "a.md", ".hidden.txt", "c.pdf", ".git/x.txt", "z/a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert find(tmp_path) == (["a.md", "b.txt", "z/a.jsonl"], ["c.pdf"])


def test_the_case_of_an_ending_does_not_matter(tmp_path):
    (tmp_path / "A.TXT").write_text("capitals")
    write_lines(tmp_path / "B.JsonL", [{"text": "one"}, {"text": "two"}])
    (tmp_path / "C.JSONL.GZ").write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["row"]}), tmp_path / "D.PARQUET")
    assert texts(tmp_path) == ["capitals", "one", "two", "packed", "row"]


def test_a_link_to_a_folder_is_named_and_not_followed(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.txt").write_text("x")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "link").symlink_to(tmp_path / "far")
    with pytest.raises(
        CourseError, match="'link/' is a link to a folder, which is not followed: name it itself"
    ):
        find(tmp_path / "raw")
    (tmp_path / "raw" / "b.txt").symlink_to(tmp_path / "far" / "a.txt")
    assert find(tmp_path / "raw") == (["b.txt"], ["link/"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_a_name_that_is_not_utf_8_is_one_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / os.fsdecode(b"\xff.pdf")).write_text("x")
    assert find(tmp_path) == (["a.txt"], ["\\udcff.pdf"])
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    with pytest.raises(CourseError, match="is not UTF-8. Rename it"):
        find(tmp_path)


@settings(deadline=None, max_examples=60)
@given(
    lines=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=12),
    size=st.integers(1, 200),
    last_end=st.booleans(),
)
def test_blocks_of_any_size_give_every_line_once(lines, size, last_end, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    write_lines(folder / "a.jsonl", [{"text": line} for line in lines])
    if not last_end:
        (folder / "a.jsonl").write_bytes((folder / "a.jsonl").read_bytes()[:-1])
    found = [d for block in blocks(folder, "a.jsonl", size) for d in read(folder, block)]
    assert [d.text for d in found] == lines
    raw = (folder / "a.jsonl").read_bytes()
    for document in found:
        line = raw[document.position :].partition(b"\n")[0]
        assert json.loads(line)["text"] == document.text, "the position is where the line begins"


@pytest.mark.parametrize("size", [1, 500, 10**9])
def test_row_groups_of_a_parquet_file_are_read_once(tmp_path, size):
    rows = [f"row {i} " + "x" * i for i in range(200)]
    pyarrow.parquet.write_table(pyarrow.table({"text": rows}), tmp_path / "a.parquet", row_group_size=30)
    cut = blocks(tmp_path, "a.parquet", size)
    found = [d for block in cut for d in read(tmp_path, block)]
    assert [d.text for d in found] == rows and [d.position for d in found] == list(range(200))
    assert len(cut) == {1: 7, 10**9: 1}.get(size, len(cut))


def test_partitions_hold_neighbours_up_to_a_size(tmp_path):
    for name, count in (("a.txt", 40), ("b.txt", 70), ("c.jsonl", 250), ("d.txt", 10)):
        (tmp_path / name).write_text("x" * count)
    parts = partitions(tmp_path, find(tmp_path)[0], 100)
    assert [[(b.source, b.begin, b.end) for b in part] for part in parts] == [
        [("a.txt", 0, 40)],
        [("b.txt", 0, 70)],
        [("c.jsonl", 0, 100)],
        [("c.jsonl", 100, 200)],
        [("c.jsonl", 200, 250), ("d.txt", 0, 10)],
    ]


def test_blank_lines_and_a_mark_of_byte_order_are_no_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\n  \n{"text": "b"}\n')
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfc")
    assert texts(tmp_path) == ["a", "b", "c"]


# What cannot be read is one sentence


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "is empty"),
        ("a.jsonl", b"", "is empty"),
        ("a.txt", "naïve".encode("latin-1"), "is not UTF-8 at byte 2. Convert it"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xe9"}\n', "is not UTF-8 at byte 24"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "not JSON lines: the line at byte 14 "),
        (
            "a.jsonl",
            b'{"txt": "x"}\n',
            "without the field 'text', at 0. It has txt. Name another with --field.",
        ),
        ("a.jsonl", b'["x"]\n', "without the field 'text', at 0. It has no fields"),
        ("a.jsonl", b'{"text": "x"}\n{"b": 1}\n', "without the field 'text', at 14. It has b."),
        ("a.txt", "naïve".encode("utf-16"), "is not UTF-8 at byte 0: it is binary or UTF-16"),
        ("a.txt", bytes(range(256)), "is not UTF-8 at byte 128: it is binary or UTF-16"),
        ("a.jsonl", b'{"text": 3}\n', "is not text, at 0"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "half a character, at 0"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 1000, mtime=0)[:-20], "is cut off or damaged"),
        ("a.jsonl.gz", b'{"text": "x"}\n', "is cut off or damaged"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("a.pdf", b"x", "holds nothing to read"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in sentence(tmp_path)


def test_a_folder_that_is_none(tmp_path):
    assert "is not a folder" in sentence(tmp_path / "none")


def test_a_list_of_licences_that_is_none(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "licences.yml").write_text("- MIT\n")
    assert "is not a list of lines such as" in sentence(tmp_path)


def test_a_parquet_file_that_is_cut_off_or_lacks_the_column(tmp_path):
    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"content": ["x" * 1000] * 50}), file)
    assert "has no column 'text'. It has content. Name another with --field." in sentence(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "cannot be read as Parquet" in sentence(tmp_path)
    file.write_bytes(whole[:8] + b"\xff" * 200 + whole[208:])
    assert "cannot be read as Parquet" in sentence(tmp_path, field="content")


def test_a_parquet_file_without_rows_is_empty(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], "string")}), tmp_path / "a.parquet")
    assert "is empty" in sentence(tmp_path)


def test_parquet_without_pyarrow_says_how_to_install_it(tmp_path, monkeypatch):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), tmp_path / "a.parquet")
    real = builtins.__import__

    def none(name, *arguments):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", none)
    assert "pip install -c constraints.txt pyarrow" in sentence(tmp_path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_document_over_the_limit_is_told_and_one_at_the_limit_is_read(tmp_path, name):
    for length, told in ((900, False), (1001, True)):
        record = {"text": "x" * length}
        line = json.dumps(record).encode()
        if name.endswith(".txt"):
            (tmp_path / name).write_text(record["text"])
        elif name.endswith(".parquet"):
            pyarrow.parquet.write_table(pyarrow.table({"text": ["a", record["text"]]}), tmp_path / name)
        else:
            (tmp_path / name).write_bytes(gzip.compress(line, mtime=0) if name.endswith(".gz") else line)
        if told:
            assert "a document of more than" in sentence(tmp_path, largest=1000)
        else:
            assert list(read_folder(tmp_path, Reading(largest=1000)))[-1].text == record["text"]


READ = """
import resource, sys
from pathlib import Path
from scaleup.errors import CourseError
from scaleup.text.prepare.documents import blocks, read
folder, source = Path(sys.argv[1]), sys.argv[2]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for block in blocks(folder, source, 2**25):
        list(read(folder, block))
except CourseError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.processes
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz"])
def test_a_line_of_a_gigabyte_is_refused_before_it_is_held(tmp_path, name):
    file = tmp_path / name
    if name.endswith(".gz"):
        member = gzip.compress(b" " * 16 * MIB, mtime=0)
        file.write_bytes(member * 64)
    else:
        with file.open("wb") as stream:
            stream.truncate(2**30)
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path, name], capture_output=True, text=True, timeout=60
    )
    said, grown = done.stdout.splitlines()
    assert "a document of more than 4 MiB, which begins at 0" in said
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * unit < 100 * MIB, "the reading holds the limit and not the line"


def test_a_block_that_begins_within_a_long_line_holds_no_more_than_a_piece_of_it(tmp_path):
    """The block after the long line's is asked alone, as another worker would."""
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "' + b"x" * 5 * MIB + b'"}\n{"text": "after"}\n')
    end = (tmp_path / "a.jsonl").stat().st_size
    found = list(read(tmp_path, Block("a.jsonl", 1000, end, end), Reading(largest=1000)))
    assert [d.text for d in found] == ["after"]
