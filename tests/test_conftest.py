"""The guard that keeps processes out of the fast suite."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from conftest import ProcessStarted, no_processes

STARTS = {
    "subprocess": lambda: subprocess.run([sys.executable, "--version"]),
    "system": lambda: os.system("true"),
    "fork": os.fork,
    "posix_spawn": lambda: os.posix_spawn(sys.executable, [sys.executable, "--version"], os.environ),
    "multiprocessing": lambda: multiprocessing.get_context("spawn").Process().start(),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_fast_test_cannot_start_a_process(start):
    with no_processes() as refused, pytest.raises(ProcessStarted, match="mark this test `processes`"):
        start()
    assert len(refused) == 1


@pytest.mark.processes
def test_a_slow_test_can():
    assert subprocess.run([sys.executable, "-c", "exit(3)"]).returncode == 3
