"""Every rule of the table has an example that it finds, and says one sentence with a lesson."""

import pytest

from scaleup import machines
from scaleup.paths import root
from scaleup.practice.reading import Reading
from scaleup.practice.remark_table import ALL
from scaleup.practice.remarks import remarks


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_a_rule_finds_its_example_in_its_line(rule):
    example = rule.example
    reading = Reading(example.text, machines.machine(example.machine))
    found = list(rule.remarks(reading))
    assert found, example.text
    assert found[0].line == example.line
    assert found[0].sentence[-1] in ".?" and "{" not in found[0].sentence.replace("${", "")
    assert (root() / found[0].lesson).is_file()


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_no_other_rule_speaks_of_its_example(rule):
    """An example shows one mistake; what else it says follows from the same one."""
    along = {
        "pbs": {"no-device", "default-partition"},
        "default-partition": {"no-device"},
        "tasks-without-srun": {"crowded-devices"},
    }.get(rule.name, set())
    reading = Reading(rule.example.text, machines.machine(rule.example.machine))
    names = {remark.name for remark in remarks(reading, ALL)} - {rule.name}
    assert names <= along, names


def test_names_are_used_once():
    names = [rule.name for rule in ALL]
    assert len(set(names)) == len(names)
