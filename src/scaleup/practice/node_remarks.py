"""Remarks on what the ranks find on a node: software, the internet, devices, cores."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..words import count
from .launches import sruns
from .reading import Reading
from .remarks import MULTI_NODE, SOFTWARE, Example, Finding, Rule
from .slurm_versions import SRUN_FORGETS_CPUS
from .start_remarks import FOUR_TASKS


def nothing_loaded(reading: Reading) -> Iterator[Finding]:
    """A program for which nothing is loaded, on a machine where PyTorch comes as a module or an image."""
    machine = reading.machine
    if not (machine["setup"].value or machine["container_command"].value) or reading.launches.unseen:
        return
    for launch in reading.launches.found[-1:]:
        path = next(
            word
            for word in (*launch.command.words, "")
            if word.endswith(("python", "python3", "torchrun")) or not word
        )
        if launch.container or "/" in path or "$" in path or loads(reading, launch.line):
            continue
        if launch.words_in_front and launch.words_in_front[-1] in ("run", "exec"):
            continue  # uv run, pixi run, and the like
        brings = "container" if machine["container_command"].value else "module"
        yield Finding(launch.line, {"brings": brings, "machine": reading.name})


LOADING = {"module", "ml", "source", ".", "conda", "mamba", "micromamba", "spack", "eval", "easybuild"}


def loads(reading: Reading, line: int) -> bool:
    """Whether anything above the line may bring PyTorch; `module purge` alone does not."""
    above = [command for command in reading.body.commands if command.line <= line]
    return any(brings(command.name, command.words) for command in above) or any(
        setting.name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") for setting in reading.body.settings
    )


def brings(name: str, words: tuple[str, ...]) -> bool:
    if words[1:2] == ("purge",):
        return False
    image = any("container" in word or word.endswith((".sif", ".sqsh")) for word in words)
    return name in LOADING or "$" in words[0] or "activate" in " ".join(words) or image


DOWNLOADS = (
    (("pip", "pip3"), "install"), (("conda", "mamba"), "install"), (("conda", "mamba"), "create"),
    (("uv",), "sync"), (("git",), "clone"), (("git",), "pull"), (("huggingface-cli", "hf"), "download"),
    (("wget", "curl", "gsutil", "aria2c"), ""), (("apt-get", "apt"), "install"),
)  # fmt: skip


def downloads(reading: Reading) -> Iterator[Finding]:
    """What needs the internet, on nodes that have none."""
    if reading.machine["internet_on_compute"].value is not False or (reading.queue or {}).get("internet"):
        return
    for command in reading.body.commands:
        words = command.words
        if what := _download(words):
            yield Finding(command.line, {"what": what})
        elif image := next((word for word in words if re.match(r"(docker|oras|library)://", word)), None):
            yield Finding(command.line, {"what": image})


def _download(words: tuple[str, ...]) -> str | None:
    offline = any(
        word.startswith(("--no-index", "--offline", "--no-build-isolation", "file://")) for word in words
    )
    local = any(re.search(r"(localhost|127\.0\.0\.1)", word) for word in words)
    if offline or local:
        return None
    plain = [word.rsplit("/", 1)[-1] for word in words]
    if plain[:2] in (["python", "-m"], ["python3", "-m"]):
        plain = plain[2:]
    for names, action in DOWNLOADS:
        for place, word in enumerate(plain[:6]):
            starts = place == 0 or words[0] in ("srun", "singularity", "apptainer", "uv")
            if starts and word in names and (not action or plain[place + 1 : place + 2] == [action]):
                return f"{word} {action}".strip()
    return None


def container_flag(reading: Reading) -> Iterator[Finding]:
    """A container without the option that lets it see devices, or with another vendor's."""
    stack = reading.machine["accelerator_stack"].value
    for command in reading.body.commands:
        if not reading.devices or command.inside:
            continue
        words = command.words
        names = [word.rsplit("/", 1)[-1] for word in words]
        runs = [names[n + 1] for n in range(len(names) - 1) if names[n] in ("singularity", "apptainer")]
        if not set(runs) & {"exec", "run"} and not any(
            name in ("singularity", "apptainer") for name in names
        ):
            continue
        if "build" in names or "pull" in names or not launch_at(reading, command.line):
            continue
        if (
            stack == "cuda"
            and not {"--nv", "--nvccli"} & set(words)
            and not any("$" in word for word in words)
        ):
            if not reading.body.values("SINGULARITY_NV") and not reading.body.values("APPTAINER_NV"):
                yield Finding(command.line, {"what": "Without --nv the container sees no device."})
        elif stack == "rocm" and "--nv" in words:
            yield Finding(
                command.line, {"what": "--nv is for NVIDIA; the devices here are AMD's: leave it out."}
            )


def launch_at(reading: Reading, line: int) -> bool:
    return any(launch.line == line for launch in reading.launches.found)


def hidden_devices(reading: Reading) -> Iterator[Finding]:
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        for setting in reading.body.values(name):
            shown = len(setting.value.split(","))
            if (
                re.fullmatch(r"\d+(,\d+)*", setting.value)
                and shown < (reading.devices or 0)
                and setting.certain
            ):
                yield Finding(
                    setting.line, {"name": name, "shown": count(shown, "device"), "devices": reading.devices}
                )


def forgotten_cpus(reading: Reading) -> Iterator[Finding]:
    """srun that may not take over --cpus-per-task; told once, and only where it can matter."""
    version = reading.machine["slurm_version"].value
    if (
        SRUN_FORGETS_CPUS.holds(version) is False
        or (first := reading.asked.options.get("cpus-per-task", "1")) == "1"
    ):
        return
    if not first.isdigit() or reading.body.values("SRUN_CPUS_PER_TASK"):
        return
    for command, options in sruns(reading.body):
        binds = options.get("cpu-bind", "")
        if "cpus-per-task" not in options and binds != "none" and launch_at(reading, command.line):
            known = "" if version else "; which one runs here is not known"
            yield Finding(command.line, {"known": known})
            return


RULES = (
    Rule(
        "nothing-loaded",
        nothing_loaded,
        "Nothing in the script brings PyTorch: on {machine} it comes from a {brings} or an environment "
        "of your own.",
        SOFTWARE,
        Example(FOUR_TASKS.replace("module load cineca-ai\n", "") + "srun -c 8 python train.py\n", 4),
    ),
    Rule(
        "download",
        downloads,
        "Compute nodes here have no internet, so '{what}' fails: do it before, on a login node.",
        SOFTWARE,
        Example(FOUR_TASKS + "pip install einops\nsrun -c 8 python train.py\n", 5),
    ),
    Rule(
        "container-flag",
        container_flag,
        "{what}",
        SOFTWARE,
        Example(FOUR_TASKS + "srun -c 8 singularity exec image.sif python train.py\n", 5),
    ),
    Rule(
        "hidden-devices",
        hidden_devices,
        "{name} shows {shown} of {devices} to every rank: leave it to Slurm.",
        MULTI_NODE,
        Example(FOUR_TASKS + "export CUDA_VISIBLE_DEVICES=0\nsrun -c 8 python train.py\n", 5),
    ),
    Rule(
        "forgotten-cpus",
        forgotten_cpus,
        "srun does not take over --cpus-per-task in Slurm 22.05 and 23.02{known}: give it again, or export "
        "SRUN_CPUS_PER_TASK.",
        MULTI_NODE,
        Example(FOUR_TASKS + "srun python train.py\n", 5),
    ),
)
