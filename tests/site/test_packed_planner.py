"""The code that the planner's page loads is complete: it answers without the rest of the course."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from scaleup.paths import root
from scaleup.plan.question import machine_facts

ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from scaleup.plan.browser import reply
print(reply(*sys.argv[2:]))
"""


@pytest.mark.processes
def test_the_packed_files_answer_a_question_on_their_own(tmp_path):
    spec = importlib.util.spec_from_file_location("planner_page", root() / "book" / "_ext" / "planner.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    for name, file in page.packed().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, tmp_path / name)
    question = {"model": "llama-3-8b", "machine": "lumi-g", "nodes": 4, "tokens": 1e9, "tp": 4}
    words = [json.dumps(question), json.dumps({"lumi-g": machine_facts("lumi-g")})]
    alone = [sys.executable, "-I", "-S", "-c", ASK, str(tmp_path), *words]  # no installed package is found
    done = subprocess.run(alone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["plan"]["layout"]["tp"] == 4 and "<details>" in answer["html"]
