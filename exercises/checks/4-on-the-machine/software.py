"""Checks of the exercises on software. The one on caches runs the job script on a real Slurm."""

import contextlib
import difflib
import functools
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

from scaleup import machines
from scaleup.exercises import NotYet, code, edited, is_number, rules, says, slip
from scaleup.exercises.jobs import PYTHON, Trial, trial
from scaleup.exercises.starters import solution_of

# ---------------------------------------------------------------- a line for a container

IMAGE, PROJECT = "/images/training.sif", "/data/project_7"
FLAGS = {"cuda": "--nv", "rocm": "--rocm"}
FACT = "a Fact is not text: take its .value, as the cell above does"


class Line:
    """What a line for one machine does: the words before the image, what is bound, the command after it."""

    def __init__(self, machine, text):
        self.name, self.stack = str(machine["name"]), machine["accelerator_stack"].value
        self.runtime, self.text, self.kind = machine["container"].value, text, type(text).__name__
        try:
            words = shlex.split(text) if isinstance(text, str) else []
        except ValueError as error:
            raise NotYet(f"a shell cannot read the line for {self.name}: {error}") from None
        self.has_image = IMAGE in words
        place = words.index(IMAGE) if self.has_image else len(words)
        self.options, self.command = words[:place], words[place + 1 :]
        self.first, self.inside = (words or ["nothing"])[0], " ".join(self.command)
        self.late = next((w for w in self.command if w in (*FLAGS.values(), "-B", "--bind")), None)
        others = {flag for stack, flag in FLAGS.items() if stack != self.stack}
        self.foreign = next((word for word in self.options if word in others), None)
        flags = re.findall(r"(?:^| )(?:--bind|-B)[ =]?(\S+)", " ".join(self.options))
        binds = [[*part.split(":"), "", ""] for flag in flags for part in flag.split(",")]
        bind = next((part for part in binds if part[0] == PROJECT), None)
        self.bound = bind is not None
        self.target, self.how = (bind[1] or PROJECT, bind[2]) if bind else ("", "")

    def starts(self):
        """Whether the command starts the training, by a shell or directly."""
        command = self.command
        if len(command) == 3 and command[0] in ("bash", "sh") and re.fullmatch("-l?c", command[1]):
            command = shlex.split(re.split(r"&&|;", command[2])[-1])
        return re.fullmatch(r"(exec )?python3? (-u )?train\.py", " ".join(command))


LINE_SLIPS = [slip(lambda line: not isinstance(line.text, str),
                   "container_line has to return one line of text, not a {kind}",
                   says({"whole": '[runtime, "exec", image]'}, kind="list")),
              slip(lambda line: "{" in line.text,
                   "the line for {name} holds braces: an f before the quotes fills them in",
                   says({"whole": '"{runtime} exec {gpu} --bind {project} {image} python train.py"'},
                        name="LUMI-G")),
              slip(lambda line: not line.has_image,
                   "the line for {name} does not name the image /images/training.sif",
                   says({"image": "training.sif"}, name="LUMI-G")),
              slip(lambda line: line.first != line.runtime and line.runtime in line.options,
                   "let the line begin with {runtime}: what comes before it is not part of this answer",
                   says({"runtime": '"srun " + machine["container"].value'}, runtime="singularity")),
              slip(lambda line: line.first != line.runtime,
                   "on {name} the runtime is {runtime}, and the line begins with '{first}': ask the facts",
                   says({"runtime": '"singularity"'}, name="JUPITER Booster", runtime="apptainer",
                        first="singularity")),
              slip(lambda line: line.options[1:2] not in (["exec"], ["run"]),
                   "after {runtime} comes what it should do: exec, or run",
                   says({"verb": "shell"}, runtime="singularity"), says({"verb": ""}, runtime="singularity")),
              slip(lambda line: line.late,
                   "{late} comes after the image, so it goes to the program inside: put it before the image",
                   says({"gpu": '""', "command": "--nv python train.py"}, late="--nv"),
                   says({"bind": "", "command": "--bind {project} python train.py"}, late="--bind")),
              slip(lambda line: line.foreign,
                   "{foreign} is for the other vendor: the devices of {name} use {stack}",
                   says({"gpu": '"--nv"'}, foreign="--nv", name="LUMI-G", stack="rocm"),
                   says({"gpu": '"--rocm"'}, foreign="--rocm", name="MareNostrum 5 ACC", stack="cuda")),
              slip(lambda line: line.stack == "cuda" and "--nv" not in line.options,
                   "on {name} the container gets no driver, so PyTorch finds no GPU: which flag is missing?",
                   says({"gpu": '""'}, name="MareNostrum 5 ACC")),
              slip(lambda line: any(word.startswith("--mount") for word in line.options),
                   "write the bind mount with --bind, not with --mount",
                   {"bind": "--mount type=bind,src={project},dst={project}"}),
              slip(lambda line: not line.bound,
                   "the project folder /data/project_7 is not bound: the program would not find train.py",
                   {"bind": ""}),
              slip(lambda line: line.target != PROJECT,
                   "the project folder appears inside as {target}: give it the same path as outside",
                   says({"bind": "--bind {project}:/inside"}, target="/inside")),
              slip(lambda line: line.how == "ro",
                   "the project folder is bound to be read only (ro): no checkpoint could be written there",
                   {"bind": "--bind {project}:{project}:ro"}),
              slip(lambda line: line.command[1:3] == ["-c", "python"],
                   "bash -c takes one word, so python would start without train.py: put quotes around the "
                   "command",
                   {"command": "bash -c python train.py"}),
              slip(lambda line: not line.command,
                   "nothing follows the image: which command should run inside?", {"command": ""}),
              slip(lambda line: not line.starts(),
                   "inside, '{inside}' would run: it should be python train.py",
                   says({"command": "train.py"}, inside="train.py"),
                   says({"command": "bash -c 'python test.py'"},
                        inside="bash -c python test.py"))]  # fmt: skip


class Text(str):
    """A fact that is text itself: what an answer takes a Fact for that forgets `.value`."""

    value = property(str)


def first_off(answer):
    """The first of three lines that shows a slip, else the last."""
    for name in ("lumi-g", "mn5-acc", "jupiter-booster"):
        machine = machines.machine(name)
        as_text = {field: Text(fact) for field, fact in machine.items()}
        right_as_text = False
        with contextlib.suppress(Exception):
            seen = Line(machine, answer(as_text, IMAGE, PROJECT))
            right_as_text = not any(row.test(seen) for row in LINE_SLIPS)
        try:
            line = Line(machine, answer(machine, IMAGE, PROJECT))
        except (NotYet, TypeError):
            if right_as_text:
                raise NotYet(FACT) from None
            raise
        if any(row.test(line) for row in LINE_SLIPS):
            if right_as_text:
                raise NotYet(FACT)
            break
    return line


def container_line(changes):
    parts = {
        "runtime": 'machine["container"]',
        "verb": "exec",
        "bind": "--bind {project}",
        "image": "{image}",
    }
    parts["gpu"] = '"--nv" if machine["accelerator_stack"].value == "cuda" else ""'
    parts |= {"command": "python train.py"} | changes
    line = 'f"{{runtime}} {verb} {{gpu}} {bind} {image} {command}"'.format(**parts)
    return code(f"""
def container_line(machine, image, project):
    runtime = {parts["runtime"]}
    gpu = {parts["gpu"]}
    return {parts.get("whole", line)}
""")


rules(
    "container", first_off, LINE_SLIPS,
    also=[says({"gpu": '"--nv" if machine["accelerator_stack"] == "cuda" else ""'}, FACT),
          says({"runtime": 'machine["container"] + ""'}, FACT),
          says({"command": "bash -c 'python"},
               "a shell cannot read the line for LUMI-G: No closing quotation")],
    needs="container_line", example=container_line,
    hint="runtime, exec, flag of the GPU, bind mount, image, command: in this order.",
    done="the lines for LUMI-G, MareNostrum 5 and JUPITER would start the training")  # fmt: skip

# ---------------------------------------------------------------- wheels

RIGHT = {"laptop": "abe", "lumi-g": "abe", "jupiter-booster": "ac"}
WHY = {"a": "py3-none-any has no compiled code in it",
       "d": "it was built for CPython 3.11",
       "e": "no tag speaks of the GPU, and rocm is only part of the version",
       "f": "it wants a C library of 2.41 or newer"}  # fmt: skip


def about(computer, letter):
    """Why a wheel does or does not install on a computer."""
    here, built_for = ("aarch64" if computer == "jupiter-booster" else "x86_64"), "x86_64"
    built_for = "aarch64" if letter == "c" else built_for
    if letter in RIGHT[computer]:
        return (
            f"{letter} does install on {computer}: {WHY.get(letter, 'its tags are those of that computer')}"
        )
    why = WHY[letter] if letter in "df" else f"it is for {built_for}, and this is {here}"
    return f"{letter} does not install on {computer}: {why}"


def wheels(answer):
    if not isinstance(answer, dict) or set(answer) != set(RIGHT):
        raise NotYet(f"give a dictionary with the keys {', '.join(RIGHT)}")
    given = {name: x if isinstance(x, str | list | tuple | set) else "?" for name, x in answer.items()}
    got = {name: set(re.sub(r"[\s,]", "", "".join(map(str, x)).lower())) for name, x in given.items()}
    for name, letters in got.items():
        if not letters <= set("abcdef"):
            raise NotYet(f"for {name} give letters from a to f, such as 'ab', not {answer[name]!r}")
    return next(((name, x) for name, right in RIGHT.items() for x in sorted(got[name] ^ set(right))), ())


rules(
    "wheels", wheels,
    [
        slip((name, letter).__eq__, about(name, letter), {name: "".join(sorted(set(right) ^ {letter}))})
        for name, right in RIGHT.items()
        for letter in "abcdef"
    ],
    also=[says({"lumi-g": "abx"}, "for lumi-g give letters from a to f, such as 'ab', not 'abx'"),
          says({"lumi-g": 3}, "for lumi-g give letters from a to f, such as 'ab', not 3"),
          says({"lumi": "abe"}, "give a dictionary with the keys laptop, lumi-g, jupiter-booster")],
    example=lambda wrong: RIGHT | wrong,
    hint="Read the last three parts of the name: Python, binary interface, platform.",
    done="right for all three, also about the one that installs where nothing can use it")  # fmt: skip

# ---------------------------------------------------------------- caches

FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "TRITON_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
           "MPLCONFIGDIR")  # fmt: skip
KNOWN = (*FOLDERS, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
LEFT_BY = {".cache/huggingface": "HF_HOME", ".cache/torch": "TORCH_HOME",
           ".cache/matplotlib": "XDG_CACHE_HOME or MPLCONFIGDIR",
           ".config/matplotlib": "XDG_CACHE_HOME or MPLCONFIGDIR",
           ".triton": "TRITON_CACHE_DIR"}  # fmt: skip


class Job(Trial):
    """A script with a home and a project of its own. A rehearsal only notes what its program would see."""

    def __init__(self, path, folder):
        super().__init__(path, folder)
        shutil.copy(solution_of("4-on-the-machine/software").parent / "software/first_step.py", folder)
        self.home, self.project = (folder / "home").resolve(), (folder / "project").resolve()
        self.settings = dict.fromkeys(KNOWN) | {"HOME": self.home, "PROJECT": self.project}
        self.home.mkdir()
        self.prepare()
        self.start = re.search(r"^[^#\n]*\bfirst_step\.py", self.text, re.MULTILINE)

    def prepare(self):
        """A model in the project's cache, and weights to fetch."""
        import torch

        commit = "0" * 40
        model = self.project / "models/hub/models--scaleup--tiny"
        for name, text in (("refs/main", commit), (f"snapshots/{commit}/config.json", '{"layers": 4}')):
            (model / name).parent.mkdir(parents=True)
            (model / name).write_text(text)
        torch.save({"weight": torch.zeros(1)}, self.project / "weights.pt")

    @functools.cached_property
    def rehearsal(self):
        """The log, and the variables of the program (None if it was not started). Nothing is written.

        A variable that is not set ends the script: as root, $NOTHING/torch would be made on the real machine.
        """
        fake, seen = self.folder / "fake", self.folder / "variables"
        fake.mkdir()
        (fake / "strict").write_text("set -u\n")
        for name in ("python", "python3"):
            (fake / name).write_text(f"#!/bin/sh\nenv -0 > {shlex.quote(str(seen))}\n")
            (fake / name).chmod(0o755)
        ran = self.run(path=str(fake), settings=self.settings | {"BASH_ENV": fake / "strict"})
        lines = seen.read_text().split("\0") if seen.exists() else []
        return ran, dict(line.split("=", 1) for line in lines if "=" in line) if lines else None

    @functools.cached_property
    def ran(self):
        """The state and the log; of the rehearsal, if that did not come as far as the program."""
        rehearsal, variables = self.rehearsal
        return self.run(limit=70, path=PYTHON, settings=self.settings) if variables else rehearsal

    def said(self, pattern):
        return (re.search(pattern, self.rehearsal[0]["log"]) or [None, None])[1]

    def value(self, name):
        return (self.rehearsal[1] or {}).get(name)

    def known(self, holds):
        """The first of the known variables for which `holds`, None if there is none."""
        return next((name for name in KNOWN if holds(name)), None)

    def set_at(self, name):
        """Where the script gives the variable a value, None if nowhere."""
        found = re.search(rf"^[^#\n]*\b{name}=", self.text, re.MULTILINE)
        return found and found.end()

    def is_below(self, name):
        return self.start and (self.set_at(name) or 0) > self.start.end()

    def inside(self, place, *folders):
        return any(Path(os.path.realpath(place)).is_relative_to(os.path.realpath(each)) for each in folders)

    unset = property(lambda self: self.said(r"(\w+): unbound variable"))
    spaced = property(
        lambda self: self.said(r"line \d+: (.*not a valid identifier|[A-Z_]+: command not found)")
    )
    late = property(lambda self: self.known(lambda name: not self.value(name) and self.is_below(name)))
    hidden = property(lambda self: self.known(lambda name: self.set_at(name) and self.value(name) is None))
    quoted = property(lambda self: self.known(lambda name: "$" in (self.value(name) or "")))

    @functools.cached_property
    def misspelt(self):
        """A variable of the script that nobody reads, and the known one that it was meant to be."""
        for name in re.findall(r"^\s*(?:export\s+)?(\w+)=", self.text, re.MULTILINE):
            near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.75)
            if name not in KNOWN and near and self.value(near[0]) is None:
                return name, near[0]
        return None

    wrong = property(lambda self: self.misspelt[0])
    meant = property(lambda self: self.misspelt[1])

    @functools.cached_property
    def away(self):
        """A folder's variable that leads neither to the project nor to the home nor to the node's disk."""
        own = (self.home, self.project, self.value("TMPDIR") or self.project)
        given = {name: self.value(name) for name in FOLDERS if self.value(name)}
        return next((f"{n}={v}" for n, v in given.items() if v[0] != "/" or not self.inside(v, *own)), None)

    @functools.cached_property
    def seen(self):
        ran, file = self.ran, self.project / "seen.json"
        return json.loads(file.read_text()) if ran and file.exists() else None

    @functools.cached_property
    def left(self):
        """The first file in the home directory, and the variable that sends it elsewhere."""
        files = sorted(file for file in self.home.rglob("*") if self.seen and file.is_file())
        return next(((name, by(name)) for name in (str(file.relative_to(self.home)) for file in files)), None)

    @functools.cached_property
    def deleted(self):
        """A folder in the home directory that was filled and is empty now."""
        places = [os.path.relpath(self.seen[kind], self.home) for kind in ("kernels", "weights", "fonts")]
        return next(((place, by(place)) for place in places if not place.startswith("..")), None)

    place = property(lambda self: (self.left or self.deleted)[0])
    sends = property(lambda self: (self.left or self.deleted)[1])


def by(place):
    """The variable that sends what a program left at `place` elsewhere."""
    return next((name for begin, name in LEFT_BY.items() if place.startswith(begin)), "its own variable")


HF, TORCH = 'export HF_HOME="$PROJECT/models"\n', 'export TORCH_HOME="$PROJECT/cache/torch"\n'
TRITON, XDG = 'export TRITON_CACHE_DIR="$TMPDIR/triton"\n', 'export XDG_CACHE_HOME="$PROJECT/cache"\n'
RUN = "srun python first_step.py\n"
rules(
    "caches", functools.partial(trial, kind=Job, empty=False),
    [slip(lambda job: job.unset,
          "the script uses ${unset}, which is not set here. Set are $HOME, $PROJECT and $TMPDIR",
          says({"$PROJECT/cache/torch": "$SCRATCH/cache/torch"}, unset="SCRATCH"),
          says({"$PROJECT/cache/torch": "$PROJEKT/cache/torch"}, unset="PROJEKT")),
     slip(lambda job: job.spaced, "the log says {spaced}: write NAME=VALUE without spaces around the =",
          says({"export HF_HOME=": "export HF_HOME = "}, spaced="export: `=': not a valid identifier"),
          says({"export HF_HOME=": "HF_HOME = "}, spaced="HF_HOME: command not found")),
     slip(lambda job: job.rehearsal[1] is None, "the job ended as {state}, and its log with: {last}",
          says({RUN: "exit 3\n"}, state="FAILED", last="nothing in its log"),
          says({RUN: "echo done\n"}, state="COMPLETED", last="done")),
     slip(lambda job: job.late,
          "{late} is set below the line that starts the program, which has ended by then",
          says({TRITON: "", RUN: RUN + TRITON}, late="TRITON_CACHE_DIR")),
     slip(lambda job: job.hidden, "{hidden} is set but not exported, so the program does not see it",
          says({"export HF_HOME=": "HF_HOME="}, hidden="HF_HOME"),
          says({"export TRITON_CACHE_DIR=": "TRITON_CACHE_DIR="}, hidden="TRITON_CACHE_DIR")),
     slip(lambda job: job.misspelt, "no program reads {wrong}. Did you mean {meant}?",
          says({"TRITON_CACHE_DIR": "TRITON_CACHEDIR"}, wrong="TRITON_CACHEDIR", meant="TRITON_CACHE_DIR"),
          says({"HF_HUB_OFFLINE": "HF_OFFLINE"}, wrong="HF_OFFLINE", meant="HF_HUB_OFFLINE")),
     slip(lambda job: job.value("HOME") != str(job.home),
          "HOME was moved, so programs miss your keys and settings: set their own variables instead",
          {TRITON: 'export HOME="$TMPDIR"\n' + TRITON}),
     slip(lambda job: job.quoted, "{quoted} holds a $: single quotes keep bash from filling in the variable",
          says({'"$TMPDIR/triton"': "'$TMPDIR/triton'"}, quoted="TRITON_CACHE_DIR")),
     slip(lambda job: job.away, "{away} leads neither into $PROJECT nor to $TMPDIR: is a $ missing?",
          says({'"$PROJECT/cache/torch"': "PROJECT/torch"}, away="TORCH_HOME=PROJECT/torch"),
          says({'"$PROJECT/cache/torch"': "/torch-of-a-check"}, away="TORCH_HOME=/torch-of-a-check")),
     slip(lambda job: job.seen is None, "the job ended as {state}, and its log with: {last}",
          says({RUN: "srun python3 -c 'first_step.py'\n"}, state="FAILED",
               last="NameError: name 'first_step' is not defined")),
     slip(lambda job: not job.seen["found"] and Path(job.value("HF_HOME") or "").name == "hub",
          "the model was not found: give HF_HOME without /hub, the library adds that itself",
          {"$PROJECT/models": "$PROJECT/models/hub"}),
     slip(lambda job: not job.seen["found"] and job.value("HF_HUB_CACHE"),
          "HF_HUB_CACHE counts for more than HF_HOME, and the model is not where it leads",
          {HF: f'{HF}export HF_HUB_CACHE="$PROJECT/hub"\n'}),
     slip(lambda job: not job.seen["found"],
          "the model was not found: HF_HOME has to lead to $PROJECT/models", {HF: ""},
          {"$PROJECT/models": "$PROJECT/cache"}),
     slip(lambda job: not job.seen["offline"],
          "the hub's library would still try the network for a file that is not there: tell it not to",
          {"export HF_HUB_OFFLINE=1\n": ""}, {"HF_HUB_OFFLINE=1": "HF_HUB_OFFLINE=0"}),
     slip(lambda job: job.left, "~/{place} was left in the home directory: {sends} sends it elsewhere",
          says({TRITON: ""}, place=".triton/cache/kernel.so", sends="TRITON_CACHE_DIR"),
          says({TORCH: "", XDG: 'export MPLCONFIGDIR="$TMPDIR/fonts"\n'},
               place=".cache/torch/hub/checkpoints/weights.pt", sends="TORCH_HOME")),
     slip(lambda job: job.deleted,
          "~/{place} was filled and deleted, so the next job fills it anew: {sends} sends it elsewhere",
          says({TRITON: "", RUN: f"{RUN}rm -rf ~/.triton\n"}, place=".triton/cache",
               sends="TRITON_CACHE_DIR")),
     slip(lambda job: job.inside(job.seen["kernels"], job.project),
          "compiled kernels went to the shared folder, where all ranks write at once: use $TMPDIR",
          {TRITON: TRITON.replace("$TMPDIR", "$PROJECT/cache")}),
     slip(lambda job: not job.inside(job.seen["weights"], job.project),
          "what torch.hub fetched went to the node's disk and is gone for the next job: use $PROJECT",
          {TORCH: TORCH.replace("$PROJECT", "$TMPDIR")})],
    example=functools.partial(edited, "software/offline_job.sh"),
    hint="Five things: models, offline, torch.hub, the fonts, compiled kernels.",
    done="the job ran without a try at the network and left the home directory empty", limit=90,
    file=True)  # fmt: skip

# ---------------------------------------------------------------- quota


def fits(answer):
    """The first of eight questions that is answered wrongly, else the last: 4 homes, files and an image."""
    for name in ("lumi-g", "deucalion-gpu", "discoverer-plus", "leonardo-booster"):
        machine = machines.machine(name)
        home = re.sub("(?<=\\d),(?=\\d)", "", str(machine["home"]))
        most_files, most_gb = (re.search(rf"(\d+) {unit}", home) for unit in ("files", "GB"))
        most_files, most_gb = most_files and int(most_files[1]), int(most_gb[1])
        for files, gb in ((30_000, 6), (1, 3)):
            asked = f"{files:,} file{'s' * (files > 1)} and {gb} GB into a home on {machine['name']}"
            by_bytes, by_files = most_gb // gb, most_files // files if most_files else None
            right = by_bytes if by_files is None else min(by_bytes, by_files)
            off = SimpleNamespace(asked=asked, by_bytes=by_bytes, by_files=by_files, right=right)
            try:
                off.got = answer(files, gb, most_files, most_gb)
            except TypeError as error:
                raise NotYet(NO_LIMIT) if most_files is None else error from None
            if not is_number(off.got) or off.got != off.right:
                return off
    return off


def fitting(expression):
    return code(f"def fitting(files, gigabytes, most_files, most_gigabytes):\n    return {expression}")


NO_LIMIT = "most_files is None where no limit is known: then do not divide it, only bytes count"
BY_BYTES, BY_FILES = "most_gigabytes // gigabytes", "most_files // files"
ON_LUMI = "30,000 files and 6 GB into a home on LUMI-G"
BOTH = f"min({BY_FILES}, {BY_BYTES}) if most_files else {BY_BYTES}"
rules(
    "quota", fits,
    [slip(lambda off: not is_number(off.got), "what fitting returns has to be a number, not {got!r}",
          says(f"str({BOTH})", got="3")),
     slip(lambda off: off.got != off.right and off.by_files is None,
          "{asked}: no limit of files is known there, so only bytes count: {right}, not {got}",
          says(f"min((most_files or 0) // files, {BY_BYTES})",
               asked="30,000 files and 6 GB into a home on Leonardo Booster", right=8, got=0)),
     slip(lambda off: off.got != int(off.got), "{asked}: {got:g} environments. Only whole ones count",
          says("min(most_files / files, most_gigabytes / gigabytes)", asked=ON_LUMI, got=3.33333)),
     slip(lambda off: off.got != off.right and off.got == off.by_bytes,
          "{asked}: {got} fit by bytes, but the files run out before",
          says(BY_BYTES, asked="30,000 files and 6 GB into a home on Deucalion GPU", got=4)),
     slip(lambda off: off.got != off.right and off.got == off.by_files,
          "{asked}: {got} fit by files, but the bytes run out before",
          says(BY_FILES, asked="1 file and 3 GB into a home on LUMI-G", got=100_000)),
     slip(lambda off: off.got == off.right + 1,
          "{asked}: {right} fit, and the next one only in part. Round down",
          says(f"-(-({BOTH.replace('//', '/')}) // 1)", asked=ON_LUMI, right=3)),
     slip(lambda off: off.got != off.right, "{asked}: {right} fit, not {got:g}",
          says(BOTH.replace("//", "*"), asked=ON_LUMI, right=3, got=120))],
    also=[says(f"min({BY_FILES}, {BY_BYTES})", NO_LIMIT)], needs="fitting", example=fitting,
    hint="How many fit by files, how many by bytes? The smaller number is the answer.",
    done="right for four machines: as one file each, environments are limited only by bytes")  # fmt: skip
