"""The company's file: what is read, what is refused, and that nothing is made up for it."""

import tomllib

import pytest

from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.proposal import own_words

EXAMPLES = sorted((root() / "data" / "proposals").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_marked_as_invented_and_leave_no_question_open(path):
    words = own_words.load(path)
    assert words.invented
    assert "(invented)" in words.get("company", "name")
    optional = {"hours", "unit", "mfu", "mfu_source"}
    for table, keys in own_words.TABLES.items():
        assert set(keys) - set(words.tables[table]) <= optional, table
    assert words.milestones and words.risks


def test_an_empty_file_has_no_words():
    words = own_words.parse({})
    assert words.get("company", "name") is None
    assert not words.milestones and not words.plan and not words.invented


def test_a_text_of_spaces_is_missing():
    assert own_words.parse({"company": {"name": "  \n "}}).get("company", "name") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"compny": {}}, "company"),
        ({"company": {"nme": "x"}}, "name"),
        ({"company": {"name": 3}}, "name is an int where a text was expected"),
        ({"hours": {"tuning": "a lot"}}, "tuning is a str where a number was expected"),
        ({"hours": {"tuning": True}}, "tuning is a bool"),
        ({"hours": {"tuning": -0.1}}, "tuning=-0.1 is impossible"),
        ({"hours": {"tuning": float("nan")}}, "tuning=nan is impossible"),
        ({"company": "x"}, "a str where a table was expected"),
        ({"milestones": {"month": 1}}, "[[milestones]]"),
        ({"risks": [{"answer": "x", "rsk": "y"}]}, "rsk"),
        ({"plan": 3}, "[plan] is a table"),
        ({"invented": "yes"}, "true or false"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(content, says):
    with pytest.raises(CourseError) as error:
        own_words.parse(content)
    assert says in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CourseError, match="scaleup propose --new"):
        own_words.load(tmp_path / "none.toml")
    for name, content, says in (("a", b"[x", "is not TOML"), ("b", b'x="\xff"', "cannot be read")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CourseError, match=says):
            own_words.load(tmp_path / name)


def test_the_template_asks_for_everything_and_says_nothing():
    text = own_words.template()
    words = own_words.parse(tomllib.loads(text))
    assert not any(words.tables.values()) and not words.milestones and not words.plan
    for table, keys in own_words.TABLES.items():
        assert f"[{table}]" in text
        assert all(f"# {key} = " in text and entry.ask in text for key, entry in keys.items())
    opened = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.splitlines()
    ).replace("# [[", "[[")
    filled = own_words.parse(tomllib.loads(opened))
    assert filled.plan["model"] == "llama-3-8b" and filled.get("request", "months") == 3
    assert filled.milestones[0]["share"] == 0.2
