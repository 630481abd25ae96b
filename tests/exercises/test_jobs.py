"""What checks of job scripts share: sentences with gaps, looking again later, where a check writes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from scaleup import paths, practice
from scaleup.computer import slurm
from scaleup.exercises import NotYet, code, edited, judge, load_checks, rules, says, slip, write_edited
from scaleup.exercises.jobs import cluster, last_words, unread
from scaleup.exercises.register import Checks, loading

HOME = Path(__file__).resolve().parents[2]
needs_slurm = pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence())
LESSON = "4-on-the-machine/software"


def table(see, *slips):
    checks = Checks("1-part/small", Path("small.py"))
    loading.append(checks)
    try:
        rules("number", see, slips, hint="", done="right")
    finally:
        loading.pop()
    return checks


def test_a_gap_is_filled_with_what_was_seen():
    row = slip(lambda seen: seen.n > 1, "{n:g} of {what} are too many", says(7, n=7, what="them"))
    checks = table(lambda answer: SimpleNamespace(n=answer, what="them"), row)
    assert [wrong.message for wrong in checks.known_wrong] == ["7 of them are too many"]
    with pytest.raises(NotYet, match="^3 of them are too many$"):
        checks.exercises["number"].check(3)
    assert checks.exercises["number"].check(1) == "right"


@pytest.mark.parametrize("answer", [1, 3])
def test_what_was_yielded_is_closed_after_the_table_was_read(answer):
    happened = []

    def see(given):
        try:
            yield given
        finally:
            happened.append("closed")

    row = slip(lambda given: happened.append("looked") or given > 1, "too many", 3)
    check = table(see, row).exercises["number"].check
    if answer > 1:
        pytest.raises(NotYet, check, answer)
    else:
        assert check(answer) == "right"
    assert happened == ["looked", "closed"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("#SBATCH --nodes=1\nset -e", ""),
        ("set -e\n#SBATCH --nodes=1", ". Slurm reads no #SBATCH line below the first command"),
        ("# SBATCH --nodes=1", ". To Slurm '# SBATCH' is a comment: it reads #SBATCH only"),
        ("#sbatch --nodes=1", ". To Slurm '#sbatch' is a comment: it reads #SBATCH only"),
    ],
)
def test_lines_that_slurm_passes_over_are_named(lines, sentence):
    assert unread(f"#!/bin/bash\n{lines}\n") == sentence


def test_the_last_words_are_the_program_s_own():
    assert last_words("first\nlast\n\nsrun: error: node1\n") == "last"
    assert last_words("srun: error: node1\n") == "error: node1"
    assert last_words("") == "nothing in its log"


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(HOME))
    was_up = practice.is_up()
    practice.up()
    yield
    if not was_up:
        practice.down()


def beside():
    """What is at the top of the file system, in /tmp and in the state folder."""
    return {path for top in ("/", "/tmp", paths.state()) for path in Path(top).iterdir()}


@pytest.mark.processes
@needs_slurm
def test_jobs_of_a_check_end_with_it_and_others_go_on(machine):
    other = practice.run("sbatch", "--parsable", "--account=practice", "--mem=1G", "--output=/dev/null",
                         "--wrap=sleep 60", cwd=Path("/")).stdout.strip()  # fmt: skip
    try:
        with cluster() as folder:
            wish = ("--account=practice", "--mem=1G", "--output=/dev/null", "--wrap=sleep 60")
            practice.run("sbatch", *wish, cwd=folder)
        assert practice.run("squeue", "--noheader", "--format=%i").stdout.split() == [other]
        assert not folder.exists()
    finally:
        practice.run("scancel", other)


@pytest.mark.processes
@needs_slurm
@pytest.mark.parametrize("name", ["$PROJEKT", "$SCRATCH", "", "PROJECT", "~", "${NOBODY}"])
def test_the_check_of_caches_writes_in_its_own_folder_only(machine, tmp_path, monkeypatch, name):
    """As root, TORCH_HOME=$PROJEKT/torch-of-a-check made /torch-of-a-check on the learner's machine."""
    place = {"$PROJECT/cache/torch": f"{name}/torch-of-a-check"}
    answer = write_edited(LESSON, edited("software/offline_job.sh", place), tmp_path / "answer")
    monkeypatch.chdir(answer.parent)
    before, files = beside(), sorted(tmp_path.rglob("*"))
    verdict = judge(LESSON, load_checks(LESSON).exercises["caches"], answer)
    assert not verdict.solved
    assert "not set here" in verdict.message or "leads neither into" in verdict.message
    assert {path.name for path in beside() - before if "torch-of-a-check" in path.name} == set()
    assert not Path("/torch-of-a-check").exists()
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize(
    "inside",
    ["python train.py", "bash -c 'python train.py'", "bash -lc 'cd /data/project_7 && python train.py'"],
)
def test_a_working_container_line_passes(monkeypatch, inside):
    monkeypatch.setenv("SCALEUP_HOME", str(HOME))
    answer = code(f"""
def container_line(machine, image, project):
    gpu = "--nv" if machine["accelerator_stack"].value == "cuda" else ""
    return f"{{machine['container'].value}} exec {{gpu}} -B {{project}} {{image}} {inside}"
""")
    assert judge(LESSON, load_checks(LESSON).exercises["container"], answer).solved


@pytest.mark.processes
@needs_slurm
@pytest.mark.parametrize(
    "changes",
    [
        {"--gpus-per-node=2": "--gpus-per-task=1"},
        {"--gpus-per-node=2": "--gpus=4"},
        {"--gpus-per-node=2": "--gres=gpu:2"},
        {"--ntasks-per-node=2": "--ntasks-per-node=2 --ntasks=4"},
    ],
)
def test_every_way_to_ask_for_four_devices_passes(machine, tmp_path, monkeypatch, changes):
    lesson = "4-on-the-machine/first-job"
    answer = write_edited(lesson, edited("first-job/devices.sh", changes), tmp_path / "answer")
    monkeypatch.chdir(answer.parent)
    verdict = judge(lesson, load_checks(lesson).exercises["devices"], answer)
    assert verdict.message == "accepted: two nodes, four devices, four tasks, and it runs"
