"""A run's lines as curves: complete, while it goes on, offline, and nothing left behind."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from chromium import chromium, needs_chromium, new_page

from scaleup.cli import main
from scaleup.errors import CourseError
from scaleup.watch import live


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    return tmp_path


def line(number, **more):
    return {"step": number, "loss": 5 - 0.01 * number, "tokens_per_second": 1000.0, "at": 1e9 + number} | more


def write(course, steps, name="mine", about=None):
    folder = course / ".scaleup" / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(step) + "\n" for step in steps)
    if about:
        (folder / "about.json").write_text(json.dumps(about))
    return folder


def stored(folder):
    """{curve: [(step, value)]} as TensorBoard's own reader finds them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_every_step_is_a_point_and_what_was_not_noted_has_no_curve(course):
    write(course, [line(n, model_flops=None) for n in range(30)])
    curves = stored(live.convert("mine"))
    assert set(curves) == {"1 loss/training", "3 speed/tokens per second", "6 alarms/on"}
    assert [step for step, _ in curves["1 loss/training"]] == list(range(30))
    assert curves["1 loss/training"][7][1] == pytest.approx(4.93)


def test_mfu_is_there_where_the_device_has_a_known_peak(course):
    write(course, [line(0, model_flops=989e12)], about={"device": "NVIDIA H100 80GB HBM3", "ranks": 2})
    assert stored(live.convert("mine"))["3 speed/MFU"][0][1] == pytest.approx(0.5)
    write(course, [line(0, model_flops=1e12)], "cpu", {"device": "CPU", "ranks": 2})
    assert "3 speed/MFU" not in stored(live.convert("cpu"))
    assert stored(live.convert("cpu", peak=4e12))["3 speed/MFU"][0][1] == pytest.approx(0.25)


def test_half_a_line_waits_until_it_is_whole(course):
    folder = write(course, [line(0)])
    lines = live.Lines(folder / "metrics.jsonl")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line(1))[:20])
        file.flush()
        assert [step["step"] for step in lines.new()] == [0]
        assert lines.new() == []
        file.write(json.dumps(line(1))[20:] + "\n")
    assert [step["step"] for step in lines.new()] == [1]


def test_following_gives_new_steps_and_says_alarms_once(course):
    write(course, [line(n) for n in range(30)])
    with live.follow("mine") as (look, folder):
        assert look() == []
        write(course, [line(30, loss=50.0)])
        (told,) = look()
        assert told.startswith("loss spike: from step 30, still on") and look() == []
        write(course, [line(n) for n in range(31, 34)])
        assert look() == [told.replace("still on", "until step 31").partition(". look")[0]]
    assert len(stored(folder)["1 loss/training"]) == 34


def test_nan_does_not_stop_the_watching(course):
    write(course, [line(n, loss=math.nan if n == 20 else 5.0) for n in range(25)])
    with live.follow("mine") as (look, folder):
        pass
    assert len(stored(folder)["1 loss/training"]) == 25


def test_a_run_is_found_by_name_or_as_the_newest(course):
    with pytest.raises(CourseError, match="No run has written"):
        live.folder_of()
    old, new = write(course, [line(0)], "old"), write(course, [line(0)], "new")
    os.utime(old / "metrics.jsonl", (1, 1))
    assert live.folder_of() == new and live.folder_of("old") == old
    with pytest.raises(CourseError, match="Did you mean 'old'"):
        live.folder_of("odl")


def test_once_opens_nothing(course, capsys):
    write(course, [line(0)])
    assert main(["watch", "mine", "--once"]) == 0
    assert "tensorboard --logdir" in capsys.readouterr().out
    assert main(["watch", "mine", "--once", "--peak", "-1"]) == 2


def still_there(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_no_process_is_left(course, number):
    write(course, [line(n) for n in range(30)])
    command = [sys.executable, "-u", "-m", "scaleup.cli", "watch", "mine", "--port", "0"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = watching.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+", first)[0]
    started = psutil.Process(watching.pid).children(recursive=True)
    server = [p for p in started if "tensorboard.main" in " ".join(p.cmdline())]
    assert len(server) == 1
    assert {c.laddr.ip for c in server[0].net_connections()} == {"127.0.0.1"}
    with urllib.request.urlopen(address, timeout=30) as page:
        assert page.status == 200
    watching.send_signal(number)
    watching.wait(30)
    end = time.monotonic() + 30
    while time.monotonic() < end and any(map(still_there, started)):
        time.sleep(0.1)
    assert not any(map(still_there, started))
    watching.stdout.close()
    if number != signal.SIGKILL:
        assert watching.returncode == 0


@pytest.mark.processes
def test_a_port_in_use_is_a_sentence(course):
    write(course, [line(0)])
    with live.tensorboard(live.convert("mine")) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(CourseError, match="TensorBoard did not start"), live.tensorboard(course, port):
            pass


@needs_chromium
@pytest.mark.processes
def test_the_page_asks_for_nothing_elsewhere(course):
    """TensorBoard brings all that its page needs: without a network it looks the same."""
    write(course, [line(n) for n in range(30)])
    asked, failed = set(), []
    with live.tensorboard(live.convert("mine")) as address, chromium() as browser:
        page = new_page(browser)
        page.on("request", lambda request: asked.add(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto(address)
        page.get_by_text("1 loss").first.wait_for()
    outside = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
    assert asked and not outside and not failed
