"""Who may speak to Slurm: anybody inside a private network, else whoever can read a private key."""

from __future__ import annotations

import os
from pathlib import Path


def settings(folder: Path, private_network: bool) -> list[str]:
    """Lines of slurm.conf. A requeued job waits for the end of its credential, hence 10 seconds."""
    if private_network:  # nobody else can reach these ports
        return ["AuthType=auth/none", "CredType=cred/none", "AuthInfo=cred_expire=10"]
    return ["AuthType=auth/munge", "CredType=cred/munge", f"AuthInfo=socket={socket(folder)},cred_expire=10"]


def socket(folder: Path) -> Path:
    return folder / "munge.socket"


def munged(program: str | Path, folder: Path) -> list[str]:
    """The command that starts munge for a folder of its own, with a key that only its owner can read."""
    key = folder / "munge.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
    socket(folder).unlink(missing_ok=True)
    words = [str(program), "--foreground", "--force", f"--key-file={key}", f"--socket={socket(folder)}"]
    return words + [f"--{kind}-file={folder}/munged.{kind}" for kind in ("pid", "seed", "log")]
