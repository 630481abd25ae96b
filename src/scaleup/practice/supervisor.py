"""The first process of the practice supercomputer: starts nodes and daemons, takes them along when it ends.

In namespaces it is process 1 of a tree of its own: when it dies, for whatever reason, the kernel ends every
process in the tree, and interfaces and mounts go with them. In plain mode it ends what carries its mark.

    python -m scaleup.practice.supervisor FOLDER     (started by scaleup.practice.cluster)
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from ..ranks.cleanup import MARK, sweep
from . import authentication
from .configuration import LOGIN, Cluster, from_json

SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}
# A node: wait until its end of the cable is there, take name and address, then become slurmd.
NODE = """
echo separated
read go
hostname "$NODE"
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
[ -z "$LINK" ] || tc qdisc add dev eth0 root tbf rate "${LINK}mbit" burst 256kb latency 400ms
mount --bind "$FOLDER/nodes/$NODE/scratch" "$SCRATCH"
exec "$FOLDER/sbin/slurmd" -D -N "$NODE" -d "$FOLDER/sbin/slurmstepd"
"""


class Supervisor:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.running: dict[str, subprocess.Popen] = {}
        self.networks: dict[str, str] = {}  # a node's network namespace

    def spawn(self, name: str, words: list[str], **options) -> subprocess.Popen:
        log = open(self.cluster.folder / f"{name}.out", "ab")  # noqa: SIM115 - the child keeps it
        options = {"stdin": subprocess.DEVNULL, "stdout": log} | options
        process = subprocess.Popen(
            words, stderr=log, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, []), **options
        )
        log.close()
        self.running[name] = process
        return process

    def prepare(self) -> None:
        """Name, address and files of the login node, and the switch that all nodes hang on."""
        folder = self.cluster.folder
        for words in (
            ["hostname", LOGIN],
            ["ip", "link", "set", "lo", "up"],
            ["ip", "link", "add", "eth0", "type", "bridge"],
            ["ip", "address", "add", f"{self.cluster.address(0)}/24", "dev", "eth0"],
            ["ip", "link", "set", "eth0", "up"],
            ["mount", "--bind", f"{folder}/hosts", "/etc/hosts"],
            ["mount", "--bind", f"{folder}/nsswitch.conf", "/etc/nsswitch.conf"],
        ):
            subprocess.run(words, check=True)

    def start_missing(self) -> None:
        """Start every part that is not running."""
        folder, plain = self.cluster.folder, self.cluster.mode == "plain"
        if plain and "munged" not in self.running:
            program = os.environ["SCALEUP_MUNGED"]
            self.spawn("munged", authentication.munged(program, folder))
        if "slurmctld" not in self.running:
            self.spawn("slurmctld", [f"{folder}/sbin/slurmctld", "-D"])
        for number, name in enumerate(self.cluster.names, start=1):
            if name not in self.running:
                self.start_plain_node(name) if plain else self.start_node(number, name)

    def start_plain_node(self, name: str) -> None:
        folder = self.cluster.folder
        words = [f"{folder}/sbin/slurmd", "-D", "-N", name, "-d", f"{folder}/sbin/slurmstepd"]
        self.spawn(name, words, env=os.environ | {"SLURMD_NODENAME": name})

    def start_node(self, number: int, name: str) -> None:
        cluster = self.cluster
        cable = f"cable{number}"
        subprocess.run(["ip", "link", "delete", cable], capture_output=True)  # of a node that died
        told = {
            "NODE": name,
            "ADDRESS": cluster.address(number),
            "FOLDER": str(cluster.folder),
            "SCRATCH": cluster.scratch,
            "LINK": str(cluster.link_mbit or ""),
        }
        node = self.spawn(
            name,
            ["unshare", "--net", "--mount", "--uts", "sh", "-ec", NODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | told,
        )
        node.stdout.readline()
        self.networks[name] = os.readlink(f"/proc/{node.pid}/ns/net")
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(node.pid)]
        subprocess.run(["ip", "link", "add", cable, *peer], check=True)
        subprocess.run(["ip", "link", "set", cable, "master", "eth0", "up"], check=True)
        if cluster.link_mbit:
            rate = ["rate", f"{cluster.link_mbit}mbit", "burst", "256kb", "latency", "400ms"]
            subprocess.run(["tc", "qdisc", "add", "dev", cable, "root", "tbf", *rate], check=True)
        node.stdin.write(b"go\n")
        node.stdin.close()
        node.stdout.close()

    def bury(self) -> None:
        """Collect the dead. A node whose slurmd died is off: what still ran on it ends too."""
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                for name in [name for name, process in self.running.items() if process.pid == pid]:
                    del self.running[name]
                    if name in self.cluster.names:
                        self.switch_off(name)

    def switch_off(self, name: str) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if self.cluster.mode == "plain":
                    told = (process / "environ").read_bytes().split(b"\0")
                    there = f"SLURMD_NODENAME={name}".encode() in told and self.is_ours(told)
                else:
                    there = os.readlink(process / "ns/net") == self.networks.get(name)
                if there:
                    os.kill(int(process.name), signal.SIGKILL)

    @staticmethod
    def is_ours(environment: list[bytes]) -> bool:
        return f"{MARK}={os.environ[MARK]}".encode() in environment

    def serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if self.cluster.mode == "namespaces":
            self.prepare()
        while True:
            self.start_missing()
            while (received := signal.sigwait(SIGNALS)) != signal.SIGUSR1:
                if received == signal.SIGTERM:
                    return
                self.bury()


def main(folder: str) -> None:
    cluster = from_json(json.loads((Path(folder) / "cluster.json").read_text())["cluster"])
    if cluster.mode == "namespaces":
        Supervisor(cluster).serve()
        return
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what the daemons leave behind comes to us
    mark = os.environ[MARK]
    try:
        Supervisor(cluster).serve()
    finally:
        os.environ.pop(MARK)
        sweep(mark, patience=1.0)


if __name__ == "__main__":
    main(sys.argv[1])
