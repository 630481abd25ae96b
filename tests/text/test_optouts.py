"""Opt-outs: what a line may name, and that nothing else is left out."""

import hashlib

import pytest

from scaleup.errors import CourseError
from scaleup.text.prepare.documents import Document
from scaleup.text.prepare.optouts import OptOuts, read_list


def test_lines_are_read_without_remarks(tmp_path):
    digest = hashlib.sha256(b"mine").hexdigest()
    (tmp_path / "list").write_text(
        f"# asked in May\nblog/2019-*  # Ada\n\nsha256:{digest}\nhttps://a.org/#x\nblog/2019-*\n"
    )
    assert read_list(tmp_path / "list") == ["blog/2019-*", f"sha256:{digest}", "https://a.org/#x"]
    assert read_list(None) == []


def test_a_path_an_address_or_a_checksum_leaves_out():
    digest = f"sha256:{hashlib.sha256('Grüße'.encode()).hexdigest()}"
    asked = OptOuts(["blog/2019-*", "https://example.org/*", digest])
    assert asked.pattern_for("blog/2019-05.txt") == "blog/2019-*"
    assert asked.pattern_for("blog/2020-05.txt") is None and asked.pattern_for("x/blog/2019-05.txt") is None
    assert (
        asked.line_for(Document("x", "a.jsonl", 0, url="https://example.org/a/b")) == "https://example.org/*"
    )
    assert asked.line_for(Document("Grüße", "a.jsonl", 0)) == digest
    assert asked.line_for(Document("Grüsse", "a.jsonl", 0, url="https://example.com/")) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"sha256:abc\n", "has 64 digits"), (b"\xff", "is not UTF-8 text"), (None, "No such file")],
)
def test_a_list_that_cannot_be_meant(tmp_path, content, said):
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    with pytest.raises(CourseError, match=said):
        read_list(tmp_path / "list")
