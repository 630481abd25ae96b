"""Counters on folders written as the kernel writes them, and on libraries that answer as their makers say.

No machine of ours shows a counter: that a real one is read right was not seen here.
"""

import math

import pytest

from scaleup.measure import energy_counters as counters


def zone(folder, number, name, microjoules, most=262_143_328_850):
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True)
    for file, value in {"name": name, "energy_uj": microjoules, "max_energy_range_uj": most}.items():
        (place / file).write_text(f"{value}\n")
    return place


@pytest.fixture
def nowhere(tmp_path):
    return tmp_path / "nowhere"


def test_a_machine_without_counters_says_what_was_looked_for(nowhere):
    assert counters.meters(nowhere, nowhere) == [] or not nowhere.exists()
    words = counters.why_none(nowhere, nowhere)
    assert str(nowhere) in words and counters.NVML in words and counters.ROCM in words
    assert counters.Metered([]).joules() is None and counters.Metered([]).says == "no counter"


def test_packages_and_memory_are_counted_parts_of_a_package_are_not(tmp_path, nowhere):
    zone(tmp_path, "0", "package-0", 5_000_000)
    zone(tmp_path, "0:0", "core", 1_000_000)
    zone(tmp_path, "0:1", "dram", 2_000_000)
    found = counters.meters(tmp_path, nowhere)
    assert [(meter.inside, meter.read()) for meter in found] == [
        ("processor package-0", 5.0),
        ("memory (DRAM)", 2.0),
    ]


def test_a_processor_without_dram_says_so(tmp_path, nowhere):
    zone(tmp_path, "0", "package-0", 5_000_000)
    (meter,) = counters.meters(tmp_path, nowhere)
    assert "no DRAM" in meter.inside and "devices" in meter.outside


def test_a_counter_that_only_root_may_read_is_told(tmp_path, nowhere):
    place = zone(tmp_path, "0", "package-0", 5_000_000)
    (place / "energy_uj").unlink()
    (place / "energy_uj").mkdir()  # cannot be read, by root neither
    assert counters.meters(tmp_path, nowhere) == []
    assert "root" in counters.why_none(tmp_path, nowhere)


def test_a_wrap_is_one_more_range(tmp_path, nowhere):
    place = zone(tmp_path, "0", "package-0", 90_000_000, most=100_000_000)
    metered = counters.Metered(counters.meters(tmp_path, nowhere))
    (place / "energy_uj").write_text("15000000\n")
    assert metered.joules() == pytest.approx(25)
    (place / "energy_uj").write_text("16000000\n")
    assert metered.joules() == pytest.approx(26), "the total goes on after a wrap"


def test_the_node_counts_all_so_nothing_is_added_to_it(tmp_path):
    zone(tmp_path / "rapl", "0", "package-0", 5_000_000)
    cray = tmp_path / "cray"
    cray.mkdir()
    (cray / "energy").write_text("7200 J 1700000000000 us\n")
    found = counters.meters(tmp_path / "rapl", cray)
    assert [meter.source for meter in counters.best(found)] == ["Cray pm_counters"]
    metered = counters.Metered(found)
    (cray / "energy").write_text("10800 J 1700000003600 us\n")
    assert metered.joules() == 3600
    assert "cooling" in metered.says


class Nvml:
    """Answers as NVML's documents say: 0 for success, millijoules behind the pointer."""

    def __init__(self, millijoules):
        self.millijoules = millijoules

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self.millijoules)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = index + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, value):
        found = self.millijoules[handle.value - 1]
        if found is None:
            return 3  # not supported, as before Volta
        value._obj.value = found
        return 0


def test_nvml_gives_millijoules_of_the_boards_that_count():
    found = counters._nvidia(lambda name: Nvml([1_500, None, 2_000_000]))
    assert [(meter.source, meter.read()) for meter in found] == [
        ("NVML device 0", 1.5),
        ("NVML device 2", 2000.0),
    ]
    assert all("processor" in meter.outside for meter in found)


class Rocm:
    """Answers as ROCm SMI's documents say: steps, and microjoules for a step."""

    def rsmi_init(self, flags):
        return 0

    def rsmi_num_monitor_devices(self, count):
        count._obj.value = 2
        return 0

    def rsmi_dev_energy_count_get(self, index, steps, resolution, when):
        steps._obj.value = 0 if index.value else 2_000_000
        resolution._obj.value = 15.25
        return 0


def test_a_card_of_two_devices_is_counted_once():
    (meter,) = counters._amd(lambda name: Rocm())
    assert meter.source == "ROCm SMI device 0"
    assert math.isclose(meter.read(), 30.5, rel_tol=1e-6)
