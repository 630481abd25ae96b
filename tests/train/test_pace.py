"""Devices that are slower than a core: what is asked for, refused, kept."""

import time

import pytest
import torch

from scaleup.errors import CourseError
from scaleup.train.pace import SHARE, Pace, device_share

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def work(seconds: float) -> None:
    """Keep a core busy for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


@pytest.mark.parametrize("text, share", [(None, 1.0), ("", 1.0), ("0.125", 0.125), ("1", 1.0)])
def test_without_the_variable_a_device_is_a_core(monkeypatch, text, share):
    monkeypatch.delenv(SHARE, raising=False)
    if text is not None:
        monkeypatch.setenv(SHARE, text)
    assert device_share(CPU) == share


@pytest.mark.parametrize("text", ["0", "-1", "2", "half", "nan"])
def test_nonsense_is_refused(monkeypatch, text):
    monkeypatch.setenv(SHARE, text)
    with pytest.raises(CourseError, match=f"{SHARE} is '{text}'. Write a share of a core"):
        device_share(CPU)


def test_a_gpu_is_not_slowed_down(monkeypatch):
    monkeypatch.setenv(SHARE, "0.5")
    with pytest.raises(CourseError, match="this rank has a GPU. Unset it"):
        device_share(torch.device("cuda"))


def test_a_step_takes_as_long_as_the_slower_device_needs(monkeypatch):
    monkeypatch.setenv(SHARE, "0.25")
    pace = Pace(CPU)
    begun = time.perf_counter()
    pace.begin()
    work(0.05)
    seconds = pace.keep()
    assert 0.2 <= seconds < 0.3, "0.05 s of a core are 0.2 s of a quarter of one"
    assert time.perf_counter() - begun >= 0.19


def test_waiting_for_others_is_not_computing(monkeypatch):
    monkeypatch.delenv(SHARE, raising=False)
    pace = Pace(CPU)
    pace.begin()
    time.sleep(0.2)
    work(0.02)
    assert 0.02 <= pace.keep() < 0.1


def test_with_several_threads_nothing_is_known_and_no_share_can_be_kept(monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.delenv(SHARE, raising=False)
    assert Pace(CPU).keep() is None
    monkeypatch.setenv(SHARE, "0.5")
    with pytest.raises(CourseError, match="OMP_NUM_THREADS=1"):
        Pace(CPU)
