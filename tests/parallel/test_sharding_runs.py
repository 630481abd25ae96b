"""data/sharding_runs.csv: the published runs with full and hybrid sharding, complete and plausible."""

import csv

from scaleup import machines
from scaleup.files import read_data
from scaleup.paths import root

ABOUT = read_data("sharding_runs.yml")
with (root() / "data" / "sharding_runs.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def test_each_column_is_explained_and_each_machine_has_a_source():
    assert set(ROWS[0]) == set(ABOUT["columns"])
    assert {row["machine"] for row in ROWS} == set(ABOUT["sources"])
    assert all(link.startswith("https://github.com/Modalities/") for link in ABOUT["sources"].values())


def test_no_run_is_twice_in_it_and_whole_nodes_are_used():
    keys = [tuple(row[name] for name in ROWS[0] if name != "tokens_per_s_per_gpu") for row in ROWS]
    assert len(keys) == len(set(keys)) == 41
    for row in ROWS:
        per_node = machines.machine(row["machine"])["devices_per_node"].value
        assert int(row["gpus"]) % per_node == 0 and row["sharding"] in ("full", "hybrid")


def test_no_run_is_faster_than_its_device():
    """6 operations per parameter and token stay below the dense peak."""
    for row in ROWS:
        peak = machines.machine(row["machine"])["peak_bf16_tflops"].value * 1e12
        mfu = 6 * ABOUT["model"]["parameters"] * float(row["tokens_per_s_per_gpu"]) / peak
        assert 0.1 < mfu < 0.7, row
