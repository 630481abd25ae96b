"""Where Slurm is: installed by the system, or unpacked from Debian's packages into the course's folder."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import CourseError
from ..paths import state

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins")
# What those need and a small machine may lack; on a system that has them the unpacked copies do no harm.
LIBRARIES = ("munge", "libmunge2", "libhwloc15", "liblua5.1-0")
DAEMONS = ("slurmctld", "slurmd", "slurmstepd")
CLIENTS = ("sbatch", "srun", "salloc", "squeue", "sinfo", "scontrol", "scancel", "sacct")
ADVICE = {
    "Linux": "On Debian, Ubuntu and WSL: sudo apt install slurmctld slurmd slurm-client munge. "
    "Other systems: the container recipe in book/machines/practice.md.",
    "Darwin": "Slurm has no daemons for macOS: use the container recipe in book/machines/practice.md.",
}


@dataclass(frozen=True)
class Slurm:
    """One installation. `plugins` and `libraries` are None where the system's own places are right."""

    daemons: dict[str, Path]
    clients: dict[str, Path]
    munged: Path | None
    plugins: Path | None = None
    libraries: str | None = None  # as LD_LIBRARY_PATH wants it

    def link(self, folder: Path) -> None:
        """Make `folder`/{bin,sbin} with links to the programs under their plain names.

        Debian calls the daemons slurmctld-wlm and so on; under such a name Slurm drops every GPU.
        """
        for part, programs in (("bin", self.clients), ("sbin", self.daemons)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for name, program in programs.items():
                link = folder / part / name
                link.unlink(missing_ok=True)
                link.symlink_to(program)
        if self.plugins:  # whose own path may have a space, which slurm.conf cannot say
            (folder / "plugins").unlink(missing_ok=True)
            (folder / "plugins").symlink_to(self.plugins)

    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": self.libraries} if self.libraries else {}


def missing_sentence() -> str:
    """What to say where Slurm is absent: one sentence, and how to get it."""
    return "Slurm is not on this machine. " + ADVICE.get(platform.system(), ADVICE["Linux"])


def find() -> Slurm | None:
    """The system's Slurm, else the unpacked one, else None."""
    system = {name: _program(name) for name in (*DAEMONS, *CLIENTS)}
    if all(system.values()):
        munged = _program("munged")
        return Slurm(
            {name: system[name] for name in DAEMONS}, {name: system[name] for name in CLIENTS}, munged
        )
    top = unpacked_folder()
    if not (top / "complete").is_file():
        return None
    plugins = next(top.glob("usr/lib/*/slurm-wlm"))
    return Slurm(
        {name: top / "usr/sbin" / f"{name}-wlm" for name in DAEMONS},
        {name: top / "usr/bin" / name for name in CLIENTS},
        top / "usr/sbin/munged",
        plugins,
        f"{plugins}:{plugins.parent}",
    )


def available() -> bool:
    """Whether `obtain` has a chance: installed, unpacked, or Debian's tools are there to unpack it."""
    return bool(find() or (shutil.which("apt-get") and shutil.which("dpkg")))


def _program(name: str) -> Path | None:
    # The practice cluster's own commands may be first in PATH; those are not an installation.
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin".split(":")
    # os.path.exists, unlike Path.exists, also says no where a folder cannot be looked into.
    path = ":".join(place for place in places if not os.path.exists(os.path.join(place, ".practice")))
    found = shutil.which(name, path=path)
    return Path(found).resolve() if found else None


def unpacked_folder() -> Path:
    return state() / "slurm"


def obtain() -> Slurm:
    """Slurm, unpacked from the distribution's packages first if need be (3.5 MB, no root).

    Raises CourseError where neither is possible.
    """
    if slurm := find():
        return slurm
    if not available():
        raise CourseError(missing_sentence())
    print("Slurm is not installed: unpacking Debian's packages into .scaleup/slurm (3.5 MB) …", flush=True)
    partial = unpacked_folder().with_name("slurm.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        subprocess.run(
            ["apt-get", "download", *PACKAGES, *LIBRARIES],
            cwd=partial, check=True, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        for package in sorted(partial.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, partial], check=True, capture_output=True, text=True)
            package.unlink()
        (partial / "complete").touch()
        shutil.rmtree(unpacked_folder(), ignore_errors=True)
        partial.rename(unpacked_folder())
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shown = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise CourseError(
            f"Debian's Slurm packages could not be fetched ({' '.join(shown)}). Run 'sudo apt-get update' "
            f"and try again. {missing_sentence()}"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)
    found = find()
    assert found, "the unpacked packages lack a program"
    return found
