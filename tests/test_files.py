"""A file is written whole or not at all, and a file of data is read anew when it changes."""

import os

import pytest

from scaleup import files


def test_a_file_is_written_into_a_folder_that_was_missing(tmp_path):
    files.write_whole(tmp_path / "new" / "a.txt", "grün")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "grün"
    files.write_whole(tmp_path / "new" / "a.txt", b"\x00\xff")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_a_reader_sees_the_old_content_until_the_new_one_is_whole(tmp_path, monkeypatch):
    target, seen, replace = tmp_path / "a.txt", [], os.replace
    files.write_whole(target, "old")

    def watched(part, path):
        seen.append((target.read_text(), part.read_text()))
        replace(part, path)

    monkeypatch.setattr(files.os, "replace", watched)
    files.write_whole(target, "new")
    assert seen == [("old", "new")] and target.read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    files.write_whole(tmp_path / "a.txt", "old")

    def full(part, path):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        files.write_whole(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_data_is_parsed_once_for_one_text(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    (tmp_path / "data" / "a.yml").write_text("number: 1\n")
    first = files.read_data("a.yml")
    assert first == {"number": 1} and files.read_data("a.yml") is first
    (tmp_path / "data" / "a.yml").write_text("number: 2\n")
    assert files.read_data("a.yml") == {"number": 2}
