"""What is mended for certain is right afterwards, and nothing else is touched."""

import pytest

from scaleup import machines
from scaleup.errors import CourseError
from scaleup.practice import mending
from scaleup.practice.reading import Reading
from scaleup.practice.remark_table import ALL
from scaleup.practice.remarks import remarks

HEAD = "#!/bin/bash\n#SBATCH --account=my_project -p boost_usr_prod\n#SBATCH --gres=gpu:4\n"
LEONARDO = machines.machine("leonardo-booster")


def mended(text: str) -> str:
    return mending.mended(text, LEONARDO)[0]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("# SBATCH --time=60", "#SBATCH --time=60"),
        ("#sbatch --time=60", "#SBATCH --time=60"),
        ("  #SBATCH --time=60", "#SBATCH --time=60"),
        ("#SBATCH \u2014time=60 \u2013N 2", "#SBATCH --time=60 -N 2"),
        ("#SBATCH --nodes = 2", "#SBATCH --nodes=2"),
        ("#SBATCH -N=2", "#SBATCH -N 2"),
        ("#SBATCH --job-name=a\u2013b", "#SBATCH --job-name=a\u2013b"),
        ("##SBATCH --time=60", "##SBATCH --time=60"),
    ],
)
def test_a_directive(wrong, right):
    assert mended(f"{HEAD}{wrong}\n") == f"{HEAD}{right}\n"


def test_line_ends_and_byte_order_mark():
    assert mended("\ufeff" + HEAD.replace("\n", "\r\n")) == HEAD


def test_late_directives_move_up_in_their_order():
    text = f"{HEAD}set -e\n#SBATCH --time=60\necho\n#SBATCH -N 2\n"
    assert mended(text) == f"{HEAD}#SBATCH --time=60\n#SBATCH -N 2\nset -e\necho\n"


def test_the_first_node_and_a_port_of_the_job():
    body = "export MASTER_ADDR=localhost MASTER_PORT=29500\nsrun -c 8 python train.py\n"
    text = f"{HEAD}#SBATCH -N 2 --ntasks-per-node=4 -c 8\nmodule load x\n{body}"
    better = mended(text)
    assert "MASTER_ADDR=$(scontrol show hostnames" in better
    assert "MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))" in better
    assert remarks(Reading(better, LEONARDO), ALL) == []


def test_one_task_with_the_cores_of_all():
    body = "srun torchrun --standalone --nproc-per-node=4 train.py\n"
    text = f"{HEAD}#SBATCH --ntasks-per-node=4\n#SBATCH --cpus-per-task=8\nmodule load x\n{body}"
    assert "--ntasks-per-node=1\n#SBATCH --cpus-per-task=32\n" in mended(text)


def test_what_is_not_certain_stays():
    text = f"{HEAD}#SBATCH --time=01:00\npip install einops\npython train.py\n"
    assert mended(text) == text


def test_the_mended_script_is_a_new_file_with_the_same_rights(tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(f"{HEAD}# SBATCH --time=60\n")
    path.chmod(0o750)
    place, text, done = mending.write(path, path.read_text(), LEONARDO)
    assert place == tmp_path / "job.mended.sh" and place.read_text() == text == f"{HEAD}#SBATCH --time=60\n"
    assert place.stat().st_mode & 0o777 == 0o750 and [remark.name for remark in done] == ["no-directive"]
    assert path.read_text().endswith("# SBATCH --time=60\n")
    with pytest.raises(CourseError, match="is there already"):
        mending.write(path, path.read_text(), LEONARDO)
    assert mending.write(path, HEAD, LEONARDO) is None


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_a_mend_ends_and_makes_its_remark_go(rule):
    machine = machines.machine(rule.example.machine)
    better, done = mending.mended(rule.example.text, machine)
    assert len(done) < mending.MOST
    left = {remark.name for remark in remarks(Reading(better, machine), ALL)}
    assert not {remark.name for remark in done} & left
