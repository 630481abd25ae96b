"""Who starts what in a job script: each training program, and how many tasks and ranks begin it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .request import first_number, last_number
from .script_body import Body, Command

# What starts tasks on other nodes, or may do so where we do not see it.
SPREADING = {
    "srun", "mpirun", "mpiexec", "prun", "ssh", "pdsh", "clush", "parallel", "ray", "deepspeed", "dask",
    "torchrun_jsc", "orterun", "hostlist", "flux", "sbatch", "salloc",
}  # fmt: skip
PYTHON = re.compile(r"python(3(\.\d+)?)?")
CONTAINERS = ("singularity", "apptainer")
MODULES = {"torch.distributed.run": "torchrun", "torch.distributed.launch": "torchrun",
           "accelerate.commands.launch": "accelerate", "deepspeed.launcher.runner": "deepspeed"}  # fmt: skip
# Of python -m: what prepares and does not train.
TOOLS = {"pip", "venv", "ensurepip", "http", "torch.utils.collect_env", "site", "json.tool", "zipfile"}
PREPARING = re.compile(
    r"(^|[/_-])(prepare|preprocess|download|convert|check|merge|setup|print|test|export|tokeni[sz]e)", re.I
)
SRUN_SHORT = {"n": "ntasks", "N": "nodes", "c": "cpus-per-task", "G": "gpus", "p": "partition"}
SRUN_FLAGS = {"label", "unbuffered", "exclusive", "overlap", "exact", "pty", "wait-all-nodes", "verbose"}
FLAG_LETTERS = set("luvOskKQXZ")


@dataclass(frozen=True)
class Launch:
    """One start of a program. `program` is torchrun, python, accelerate or deepspeed."""

    line: int
    program: str
    options: dict[str, str]
    target: str  # the file or module that is started
    command: Command
    srun: dict[str, str] | None  # its options, None without srun
    words_in_front: tuple[str, ...] = ()

    @property
    def container(self) -> str | None:
        """The runtime of the container that the program is started in, by its name."""
        names = [word.rsplit("/", 1)[-1] for word in self.words_in_front]
        return next((name for name in names if name in CONTAINERS), None)

    def number(self, *names: str) -> int | None:
        """The value of one of torchrun's options, where it is a number."""
        value = self.value(*names)
        return int(value) if value is not None and value.isdigit() else None

    def value(self, *names: str) -> str | None:
        return next((self.options[name] for name in names if name in self.options), None)


@dataclass
class Launches:
    found: list[Launch] = field(default_factory=list)
    spreads: bool = False  # something may start tasks on other nodes
    unseen: bool = False  # a script of its own is started, which we do not read


def launches(body: Body) -> Launches:
    """All starts of training programs in a body."""
    result, around = Launches(), {}
    for command in body.commands:
        if not command.inside:
            around = {command.line: srun_options(command.words)} if command.name == "srun" else {}
        srun = around.get(command.line)
        names = {word.rsplit("/", 1)[-1] for word in command.words}
        result.spreads |= bool(names & SPREADING)
        result.unseen |= starts_a_script(command)
        if launch := launch_of(command, srun):
            result.found.append(launch)
    return result


def starts_a_script(command: Command) -> bool:
    """Whether the command runs another shell script, or a command that only a variable names."""
    words = command.words
    first = words[0]
    if first.startswith("$") or first.endswith(".sh") and first not in (".", "source"):
        return True
    return command.name in ("bash", "sh", "source", ".", "zsh") and any(w.endswith(".sh") for w in words[1:2])


def srun_options(words: Sequence[str]) -> dict[str, str]:
    """The options between srun and the program."""
    return _options(words[1:], SRUN_SHORT, SRUN_FLAGS)[0]


def _options(words: Sequence[str], short: dict[str, str], flags: set[str]) -> tuple[dict[str, str], int]:
    """Options in front of the first word that is none, and where that word is."""
    found: dict[str, str] = {}
    place = 0
    while place < len(words) and words[place].startswith("-") and words[place] != "--":
        word = words[place]
        place += 1
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("_", "-")
            takes = not equals and name not in flags
        else:
            name, value = short.get(word[1], word[1]), word[2:].removeprefix("=")
            takes = not value and word[1] not in FLAG_LETTERS
        if takes and place < len(words) and not words[place].startswith("-"):
            value = words[place]
            place += 1
        found[name] = value
    return found, place


TORCHRUN_FLAGS = {"standalone", "no-python", "run-path", "use-env", "module"}
ACCELERATE_FLAGS = {"multi-gpu", "use-fsdp", "use-deepspeed", "cpu", "debug", "same-network", "tpu"}


def launch_of(command: Command, srun: dict[str, str] | None) -> Launch | None:
    """The training program that a command starts, or None."""
    for place, word in enumerate(command.words):
        name, rest = word.rsplit("/", 1)[-1], command.words[place + 1 :]
        front = command.words[:place]
        if name in ("pip", "conda", "git", "echo", "which", "module", "bash", "sh") and not front:
            return None
        if name in ("bash", "sh") and "-c" in rest[:1]:
            return None  # its text is read as commands of its own
        if name in ("torchrun", "torchrun_jsc"):
            return _torchrun(command, name, rest, srun, front)
        if name == "accelerate" and rest[:1] == ("launch",):
            options, at = _options(rest[1:], {"m": "module"}, ACCELERATE_FLAGS)
            target = (*rest[1:][at:], "")[0]
            return Launch(command.line, "accelerate", options, target, command, srun, front)
        if name == "deepspeed":
            return Launch(command.line, "deepspeed", {}, "", command, srun, front)
        if PYTHON.fullmatch(name):
            return _python(command, rest, srun, front)
    return None


def _torchrun(command, name, rest, srun, front) -> Launch:
    options, at = _options(rest, {"m": "module"}, TORCHRUN_FLAGS)
    target = (*rest[at:], "")[0] or options.get("module", "")
    return Launch(command.line, "torchrun", options | {"": name}, target, command, srun, front)


def _python(command: Command, rest, srun, front) -> Launch | None:
    options, at = _options(rest, {"m": "module", "W": "warn"}, {"version", "help"})
    target = options.get("module") or (*rest[at:], "")[0]
    behind = rest[rest.index(target) + 1 :] if target in rest else ()
    if MODULES.get(target) == "torchrun":
        return _torchrun(command, "torchrun", behind, srun, front)
    if MODULES.get(target):
        return Launch(command.line, MODULES[target], {}, target, command, srun, front)
    trains = options.get("module") or target.endswith(".py") or target.startswith("$")
    if "c" in options or not trains or target in TOOLS or PREPARING.search(target):
        return None
    return Launch(command.line, "python", options, target, command, srun, front)


def tasks_per_node(launch: Launch, nodes: int | None, tasks: int | None) -> int | None:
    """How many tasks of a node start the program; 1 without srun. None where that is not to be seen."""
    srun = launch.srun
    if srun is None:
        return 1
    if "ntasks-per-node" in srun:
        return _plain(srun["ntasks-per-node"])
    on = _plain(srun["nodes"]) if "nodes" in srun else nodes
    if "ntasks" in srun:
        every = _plain(srun["ntasks"])
        return -(-every // on) if every and on else None
    return tasks


def _plain(text: str) -> int | None:
    return first_number(text) if re.fullmatch(r"\d+(-\d+)?", text) else None


def ranks_per_node(launch: Launch, devices: int | None) -> int | None:
    """How many ranks one torchrun starts; None where that is not to be seen."""
    value = launch.value("nproc-per-node")
    if value is None:
        return 1
    if value in ("gpu", "auto"):
        return devices or None
    return last_number(value) if value.isdigit() else None


def sruns(body: Body) -> Iterator[tuple[Command, dict[str, str]]]:
    for command in body.commands:
        if command.name == "srun":
            yield command, srun_options(command.words)
