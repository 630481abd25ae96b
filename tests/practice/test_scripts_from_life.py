"""Scripts of the kinds that people send: the right verdict, and all that a person would say, to the letter.

`found-scripts.yml` has the cases that were once judged wrongly, `own-scripts.yml` thirty for each machine
that the lessons teach, half of them good ones in the form of the sites' and teachers' public examples.
"""

import contextlib
from pathlib import Path

import pytest
import yaml

from scaleup.computer import slurm
from scaleup.practice.validator import Validator

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence()),
]
HERE = Path(__file__).parent
FOUND = yaml.safe_load((HERE / "found-scripts.yml").read_text("utf-8"))
OWN = yaml.safe_load((HERE / "own-scripts.yml").read_text("utf-8"))


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Ask a machine about a text; one scheduler for each machine."""
    path = tmp_path_factory.mktemp("scripts") / "job.sh"
    with contextlib.ExitStack() as stack:
        up: dict[str, Validator] = {}

        def ask(machine: str, text: str):
            if machine not in up:
                up[machine] = stack.enter_context(Validator(machine))
            path.write_text(text, newline="")
            return up[machine].check(path)

        yield ask


@pytest.mark.parametrize("case", [*FOUND, *OWN], ids=lambda case: f"{case['machine']}: {case['id']}")
def test_verdict_and_sentences(ask, case):
    verdict = ask(case["machine"], case["script"])
    assert verdict.accepted == case["accepted"], verdict
    assert [remark.sentence for remark in verdict.all] == case["says"]


def test_there_are_thirty_of_each_taught_machine_and_half_are_good():
    for machine in {case["machine"] for case in OWN}:
        taken = [case["accepted"] for case in OWN if case["machine"] == machine]
        assert len(taken) == 30 and sum(taken) >= 15


HEAD = "#!/bin/bash\n#SBATCH --account=project_465000000 -p standard-g -N 1 --gpus-per-node=8 --time=60\n"


def test_a_script_for_pbs_is_called_one(ask):
    verdict = ask("lumi-g", "#!/bin/bash\n#PBS -l select=2\n#PBS -l walltime=01:00:00\n./run\n")
    assert not verdict.accepted and "This is a script for PBS." in verdict.advice


def test_a_byte_order_mark_is_named(ask):
    verdict = ask("lumi-g", f"\ufeff{HEAD}")
    assert not verdict.accepted
    assert verdict.advice.startswith("The file begins with a byte-order mark")
