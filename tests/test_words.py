"""Words for people."""

import pytest

from scaleup.words import count, did_you_mean, markdown_table, nearest, one_line


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("stpes", ["steps", "seed"], "steps"),
        ("lumi", ["lund", "lumi-g"], "lumi-g"),  # one that begins with it comes before one that is like it
        ("zzz", ["steps", "seed"], None),
        ("", ["steps"], None),
        ("steps", [], None),
    ],
)
def test_the_nearest_name(word, known, found):
    assert nearest(word, iter(known)) == found


def test_an_unknown_name_gets_the_nearest_or_the_whole_list():
    assert did_you_mean("sed", ["steps", "seed"]) == "Did you mean 'seed'?"
    assert did_you_mean("zzz", iter(["steps", "seed"])) == "There is: steps, seed."
    assert did_you_mean("zzz", []) == "There is: none yet."


def test_one_line_is_the_first_paragraph_and_no_longer_than_asked():
    assert one_line("a  b\nc\n\nanother paragraph") == "a b c"
    assert one_line("x" * 50, 50) == "x" * 50
    assert one_line("x" * 51, 50) == "x" * 49 + "…"


@pytest.mark.parametrize(
    ("number", "words"), [(1, "1 node"), (2, "2 nodes"), (0.5, "0.5 nodes"), (0, "0 nodes")]
)
def test_a_count_has_its_unit(number, words):
    assert count(number, "node") == words


def test_a_table_of_markdown():
    rows = [["a", "1"], ["b", "2"]]
    assert markdown_table(["x", "y"], rows) == "| x | y |\n| --- | --- |\n| a | 1 |\n| b | 2 |"
    assert markdown_table(["x", "y"], rows, numbers=True).splitlines()[1] == "| --- | ---: |"
