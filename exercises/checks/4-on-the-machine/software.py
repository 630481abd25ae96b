"""Checks of the exercises on software. The one on caches runs the job script on a real Slurm."""

import contextlib
import json
import re
import shlex
import sys
import tempfile
from pathlib import Path

from scaleup import machines, practice
from scaleup.exercises import NotYet, code, edited, exercise, known_wrong, needs_function
from scaleup.paths import state

IMAGE, PROJECT = "/images/training.sif", "/data/project_7"
FLAGS = {"cuda": "--nv", "rocm": "--rocm"}


def options_of(line, name):
    """The words before the image, and the command after it."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise NotYet(f"a shell cannot read the line for {name}: {error}") from None
    if IMAGE not in words:
        raise NotYet(f"the line for {name} does not name the image {IMAGE}")
    place = words.index(IMAGE)
    return words[:place], words[place + 1 :]


def binds(options):
    """What is bound, as [source, target, options]."""
    found = []
    for number, word in enumerate(options):
        flag, _, value = word.partition("=")
        if flag in ("--bind", "-B"):
            value = value or (options[number + 1] if number + 1 < len(options) else "")
            for part in value.split(","):
                source, target, options_of_bind = [*part.split(":"), "", ""][:3]
                found.append([source, target or source, options_of_bind])
    return found


def check_line(machine, line):
    name, stack = str(machine["name"]), machine["accelerator_stack"].value
    if not isinstance(line, str):
        raise NotYet(f"container_line has to return one line of text, not a {type(line).__name__}")
    options, command = options_of(line, name)
    runtime = machine["container"].value
    if options[:1] != [runtime]:
        if runtime in options:
            raise NotYet(
                f"let the line begin with {runtime}: what stands before it is not part of this answer"
            )
        raise NotYet(
            f"on {name} the runtime is {runtime}, and the line begins with '{line.split()[0]}': ask the facts"
        )
    if options[1:2] not in (["exec"], ["run"]):
        raise NotYet(f"after {runtime} comes what it should do: exec, or run")
    late = [word for word in command if word in FLAGS.values() or word in ("-B", "--bind")]
    if late:
        raise NotYet(
            f"{late[0]} stands after the image, so it goes to the program inside: put it before the image"
        )
    for wrong in [flag for kind, flag in FLAGS.items() if kind != stack and flag in options]:
        raise NotYet(f"{wrong} is for the other vendor: the devices of {name} use {stack}")
    if stack == "cuda" and "--nv" not in options:
        raise NotYet(
            f"on {name} the container gets no driver, so PyTorch finds no GPU: which flag is missing?"
        )
    if any(word.partition("=")[0] == "--mount" for word in options):
        raise NotYet("write the bind mount with --bind, not with --mount")
    bound = {source: (target, how) for source, target, how in binds(options)}
    if PROJECT not in bound:
        raise NotYet(f"the project folder {PROJECT} is not bound: the program would not find train.py")
    target, how = bound[PROJECT]
    if target != PROJECT:
        raise NotYet(f"the project folder appears inside as {target}: give it the same path as outside")
    if how == "ro":
        raise NotYet("the project folder is bound to be read only (ro): no checkpoint could be written there")
    if command != ["python", "train.py"]:
        raise NotYet(f"inside, '{' '.join(command)}' would run: it should be python train.py")


class Text(str):
    """A fact that is text itself: what an answer takes a Fact for that forgets `.value`."""

    value = property(str)


def takes_facts_for_text(answer, machine):
    """Whether the answer would be right if facts were text."""
    with contextlib.suppress(Exception):
        check_line(machine, answer({field: Text(fact) for field, fact in machine.items()}, IMAGE, PROJECT))
        return True
    return False


@exercise("container", hint="runtime, exec, flag of the GPU, bind mount, image, command: in this order.")
def container(answer):
    needs_function(answer, "container_line")
    for name in ("lumi-g", "mn5-acc", "jupiter-booster"):
        machine = machines.machine(name)
        try:
            check_line(machine, answer(machine, IMAGE, PROJECT))
        except (NotYet, TypeError):
            if takes_facts_for_text(answer, machine):
                raise NotYet("a Fact is not text: take its .value, as the cell above does") from None
            raise
    return "the lines for LUMI-G, MareNostrum 5 and JUPITER would start the training"


LINE = """
def container_line(machine, image, project):
    runtime = {runtime}
    gpu = {gpu}
    return f"{{runtime}} exec {{gpu}} {bind} {{image}} {inside}python train.py"
"""


def line_with(
    runtime='machine["container"]',
    gpu='"--nv" if machine["accelerator_stack"].value == "cuda" else ""',
    bind="--bind {project}",
    inside="",
):
    return code(LINE.format(runtime=runtime, gpu=gpu, bind=bind, inside=inside))


known_wrong(
    "container",
    line_with(gpu='"--nv"'),
    "--nv is for the other vendor: the devices of LUMI-G use rocm",
)
known_wrong(
    "container",
    line_with(gpu='""'),
    "on MareNostrum 5 ACC the container gets no driver, so PyTorch finds no GPU: which flag is missing?",
)
known_wrong(
    "container",
    line_with(bind=""),
    "the project folder /data/project_7 is not bound: the program would not find train.py",
)
known_wrong(
    "container",
    line_with(bind="--bind {project}:/inside"),
    "the project folder appears inside as /inside: give it the same path as outside",
)
known_wrong(
    "container",
    line_with(runtime='"singularity"'),
    "on JUPITER Booster the runtime is apptainer, and the line begins with 'singularity': ask the facts",
)
known_wrong(
    "container",
    line_with(gpu='"--nv" if machine["accelerator_stack"] == "cuda" else ""'),
    "a Fact is not text: take its .value, as the cell above does",
)
known_wrong(
    "container",
    line_with(runtime='machine["container"] + ""'),
    "a Fact is not text: take its .value, as the cell above does",
)
known_wrong(
    "container",
    line_with(runtime='"srun " + machine["container"].value'),
    "let the line begin with singularity: what stands before it is not part of this answer",
)
known_wrong(
    "container",
    line_with(bind="--mount type=bind,src={project},dst={project}"),
    "write the bind mount with --bind, not with --mount",
)
known_wrong(
    "container",
    line_with(bind="--bind {project}:{project}:ro"),
    "the project folder is bound to be read only (ro): no checkpoint could be written there",
)
known_wrong(
    "container",
    line_with(gpu='""', inside="--nv "),
    "--nv stands after the image, so it goes to the program inside: put it before the image",
)


RIGHT = {"laptop": "abe", "lumi-g": "abe", "jupiter-booster": "ac"}


def about_wheel(letter, computer, expected):
    """Why `letter` does (`expected`) or does not install on `computer`."""
    if expected:
        why = {
            "a": "py3-none-any has no compiled code in it",
            "b": "its tags are those of that computer",
            "c": "its tags are those of that computer",
            "e": "no tag speaks of the GPU, and rocm is only part of the version",
        }
        return f"{letter} does install on {computer}: {why[letter]}"
    architecture = "aarch64" if computer == "jupiter-booster" else "x86_64"
    why = {
        "b": f"it is for x86_64, and this is {architecture}",
        "c": f"it is for aarch64, and this is {architecture}",
        "d": "it was built for CPython 3.11",
        "e": f"it is for x86_64, and this is {architecture}",
        "f": "it wants a C library of 2.41 or newer",
    }
    return f"{letter} does not install on {computer}: {why[letter]}"


@exercise("wheels", hint="Read the last three parts of the name: Python, binary interface, platform.")
def wheels(answer):
    if not isinstance(answer, dict) or set(answer) != set(RIGHT):
        raise NotYet(f"give a dictionary with the keys {', '.join(RIGHT)}")
    for computer, right in RIGHT.items():
        got = set(answer[computer])
        if not got <= set("abcdef"):
            raise NotYet(f"for {computer} give letters from a to f, such as 'ab', not {answer[computer]!r}")
        for letter in sorted(got ^ set(right)):
            raise NotYet(about_wheel(letter, computer, letter in right))
    return "right for all three, also about the one that installs where it is of no use"


known_wrong(
    "wheels",
    RIGHT | {"laptop": "ab"},
    "e does install on laptop: no tag speaks of the GPU, and rocm is only part of the version",
)
known_wrong(
    "wheels",
    RIGHT | {"jupiter-booster": "abc"},
    "b does not install on jupiter-booster: it is for x86_64, and this is aarch64",
)
known_wrong(
    "wheels", RIGHT | {"lumi-g": "abde"}, "d does not install on lumi-g: it was built for CPython 3.11"
)
known_wrong(
    "wheels",
    RIGHT | {"lumi-g": "abef"},
    "f does not install on lumi-g: it wants a C library of 2.41 or newer",
)
known_wrong(
    "wheels",
    RIGHT | {"jupiter-booster": "c"},
    "a does install on jupiter-booster: py3-none-any has no compiled code in it",
)


SET_ELSEWHERE = (
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TORCH_HOME", "TRITON_CACHE_DIR",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR",
)  # fmt: skip
LEFT_BY = {
    ".cache/huggingface": "HF_HOME",
    ".cache/torch": "TORCH_HOME",
    ".cache/matplotlib": "XDG_CACHE_HOME or MPLCONFIGDIR",
    ".config/matplotlib": "XDG_CACHE_HOME or MPLCONFIGDIR",
    ".triton": "TRITON_CACHE_DIR",
}


def prepare(project):
    """A project's folder with a model in its cache and weights to fetch."""
    import torch

    commit = "0" * 40
    model = project / "models/hub/models--scaleup--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    (model / "snapshots" / commit / "config.json").write_text('{"layers": 4}')
    torch.save({"weight": torch.zeros(1)}, project / "weights.pt")


def run_job(script, home, project):
    """Submit the script with this home; returns the state in which it ended, and its log."""
    log = project / "job.out"
    words = ["sh", "-c", 'PATH="$0:$PATH" exec "$@"', str(Path(sys.executable).parent), "env"]
    words += [f"--unset={name}" for name in SET_ELSEWHERE]
    words += [f"HOME={home}", f"PROJECT={project}"]
    words += ["sbatch", "--parsable", f"--output={log}", f"--error={log}", script.name]
    done = practice.run(*words, check=False, cwd=script.parent)
    if done.returncode:
        raise NotYet(f"Slurm refused the script: {' '.join(done.stderr.splitlines()[-2:])}")
    return practice.wait(done.stdout.strip(), limit=70), log


def why_not_found(hf_home, script):
    if hf_home is None and "HF_HOME=" in script:
        return "HF_HOME is set but not exported, so the program does not see it"
    if hf_home and Path(hf_home).name == "hub":
        return "the model was not found: give HF_HOME without /hub, the library adds that itself"
    return "the model was not found: HF_HOME has to lead to $PROJECT/models"


@exercise(
    "caches",
    hint="Five things: models, offline, torch.hub, the fonts, compiled kernels.",
    limit=90,
    file=True,
)
def caches(path):
    practice.up()
    with tempfile.TemporaryDirectory(dir=state(), ignore_cleanup_errors=True) as folder:
        home, project = Path(folder, "home"), Path(folder, "project")
        home.mkdir()
        project.mkdir()
        prepare(project)
        ended, log = run_job(path.resolve(), home, project)
        if not (project / "seen.json").exists():
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            last = ([line for line in lines if not line.startswith("srun: ")] or lines or ["nothing"])[-1]
            raise NotYet(f"the job ended as {ended}, and its log with: {last}")
        seen = json.loads((project / "seen.json").read_text())
        left = sorted(str(file.relative_to(home)) for file in home.rglob("*") if file.is_file())
        said = log.read_text(errors="replace")
    if spaced := re.search(r"line \d+: (.*not a valid identifier)", said):
        raise NotYet(f"the log says {spaced[1]}: write NAME=VALUE without spaces around the =")
    if seen["HOME"] != str(home):
        raise NotYet(
            "HOME was moved, so programs miss your keys and settings: set their own variables instead"
        )
    if not seen["found"]:
        raise NotYet(why_not_found(seen["HF_HOME"], path.read_text()))
    if not seen["offline"]:
        raise NotYet(
            "the hub's library would still try the network for a file that is not there: tell it not to"
        )
    for place in left:
        for begin, variable in LEFT_BY.items():
            if place.startswith(begin):
                raise NotYet(f"~/{place} was left in the home directory: {variable} sends it elsewhere")
    if left:
        raise NotYet(f"~/{left[0]} was left in the home directory")
    if not seen["triton_on_node"]:
        raise NotYet("compiled kernels went to the shared folder, where all ranks write at once: use $TMPDIR")
    if not seen["torch_in_project"]:
        raise NotYet(
            "what torch.hub fetched went to the node's disk and is gone for the next job: use $PROJECT"
        )
    return "the job ran without a try at the network and left the home directory empty"


TORCH = 'export TORCH_HOME="$PROJECT/cache/torch"\n'
TRITON = 'export TRITON_CACHE_DIR="$TMPDIR/triton"\n'
known_wrong(
    "caches",
    edited("software/offline_job.sh", {TRITON: ""}),
    "~/.triton/cache/kernel.so was left in the home directory: TRITON_CACHE_DIR sends it elsewhere",
)
known_wrong(
    "caches",
    edited("software/offline_job.sh", {TRITON: 'export TRITON_CACHE_DIR="$PROJECT/cache/triton"\n'}),
    "compiled kernels went to the shared folder, where all ranks write at once: use $TMPDIR",
)
known_wrong(
    "caches",
    edited("software/offline_job.sh", {"export HF_HUB_OFFLINE=1\n": ""}),
    "the hub's library would still try the network for a file that is not there: tell it not to",
)
known_wrong(
    "caches",
    edited("software/offline_job.sh", {"export HF_HOME=": "HF_HOME="}),
    "HF_HOME is set but not exported, so the program does not see it",
)
known_wrong(
    "caches",
    edited("software/offline_job.sh", {"export HF_HOME=": "export HF_HOME = "}),
    "the log says export: `=': not a valid identifier: write NAME=VALUE without spaces around the =",
)
known_wrong(
    "caches",
    edited("software/offline_job.sh", {"$PROJECT/models": "$PROJECT/models/hub"}),
    "the model was not found: give HF_HOME without /hub, the library adds that itself",
)
known_wrong(
    "caches",
    edited("software/offline_job.sh", {TRITON: 'export HOME="$TMPDIR"\n' + TRITON}),
    "HOME was moved, so programs miss your keys and settings: set their own variables instead",
)
known_wrong(
    "caches",
    edited(
        "software/offline_job.sh",
        {TORCH: "", 'export XDG_CACHE_HOME="$PROJECT/cache"\n': 'export MPLCONFIGDIR="$TMPDIR/fonts"\n'},
    ),
    "~/.cache/torch/hub/checkpoints/weights.pt was left in the home directory: TORCH_HOME sends it elsewhere",
)


def quota(name):
    """Files and GB of the home directory, as its fact has them; None where it does not say."""
    home = str(machines.machine(name)["home"])
    files, gigabytes = re.search(r"([\d,]+) files", home), re.search(r"(\d+) GB", home)
    return files and int(files[1].replace(",", "")), gigabytes and int(gigabytes[1])


@exercise("quota", hint="How many fit by files, how many by bytes? The smaller number is the answer.")
def quotas(answer):
    needs_function(answer, "fitting")
    for name in ("lumi-g", "deucalion-gpu", "discoverer-plus", "leonardo-booster"):
        most_files, most_gigabytes = quota(name)
        for files, gigabytes in ((30_000, 6), (1, 3)):
            limits = [most_gigabytes // gigabytes] + ([most_files // files] if most_files else [])
            try:
                got, right = answer(files, gigabytes, most_files, most_gigabytes), min(limits)
            except TypeError:
                if most_files is None:
                    raise NotYet(
                        "most_files is None where no limit is known: then do not divide it, only bytes count"
                    ) from None
                raise
            if got == right:
                continue
            asked = f"{files:,} files and {gigabytes} GB into a home on {machines.machine(name)['name']}"
            if most_files is None:
                raise NotYet(
                    f"{asked}: no limit of files is known there, so only bytes count: {right}, not {got}"
                )
            if isinstance(got, float) and not got.is_integer():
                raise NotYet(f"{asked}: {got:g} environments. Only whole ones are of use")
            if got == limits[0]:
                raise NotYet(f"{asked}: {got} fit by bytes, but the files run out before")
            if got == limits[1]:
                raise NotYet(f"{asked}: {got} fit by files, but the bytes run out before")
            raise NotYet(f"{asked}: {right} fit, not {got}")
    return "right for four machines: as one file each, environments are limited by bytes alone"


FITTING = """
def fitting(files, gigabytes, most_files, most_gigabytes):
    return {}
"""
BY_BYTES = "most_gigabytes // gigabytes"
known_wrong(
    "quota",
    code(FITTING.format(BY_BYTES)),
    "30,000 files and 6 GB into a home on Deucalion GPU: 4 fit by bytes, but the files run out before",
)
known_wrong(
    "quota",
    code(FITTING.format("most_files // files")),
    "1 files and 3 GB into a home on LUMI-G: 100000 fit by files, but the bytes run out before",
)
known_wrong(
    "quota",
    code(FITTING.format("min(most_files / files, most_gigabytes / gigabytes)")),
    "30,000 files and 6 GB into a home on LUMI-G: 3.33333 environments. Only whole ones are of use",
)
known_wrong(
    "quota",
    code(FITTING.format(f"min((most_files or 0) // files, {BY_BYTES})")),
    "30,000 files and 6 GB into a home on Leonardo Booster: no limit of files is known there, so only bytes "
    "count: 8, not 0",
)
known_wrong(
    "quota",
    code(FITTING.format(f"min(most_files // files, {BY_BYTES})")),
    "most_files is None where no limit is known: then do not divide it, only bytes count",
)
