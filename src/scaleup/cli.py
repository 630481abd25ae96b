"""`scaleup`: one word for each thing the course does from a shell."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

from .errors import CourseError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="scaleup", description="From one GPU to a supercomputer: the course's tool."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser
    doctor = add("doctor", help="look at this machine: what works, what is missing, what to do")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    prepare_arguments(
        add("prepare", help="turn a folder of texts into token shards, or the course's own text")
    )
    train = add("train", help="train the course's GPT, alone or under torchrun or srun")
    train.add_argument("--config", required=True, help="a TOML file, such as data/first-run.toml")
    practice = add("practice", help="a real Slurm on this machine, to practise on")
    actions = practice.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = actions.add_parser("up", help="start it, or mend it")
    start.add_argument("--nodes", type=int, help="how many nodes (all of them if not given)")
    start.add_argument("--link", type=int, metavar="MBIT", help="throttle each node's link to so many Mbit/s")
    start.add_argument("--mode", help="namespaces or plain; without it, what this system allows")
    actions.add_parser("down", help="end it and all that runs on it")
    actions.add_parser("status", help="nodes and jobs")
    actions.add_parser("shell", help="a shell on its login node")
    inspect = actions.add_parser("check", help="would this machine's scheduler take this script?")
    inspect.add_argument("script", help="a job script")
    inspect.add_argument("--machine", required=True, help="a name in data/machines.yml")
    job = add("job", help="write a job script for a supercomputer, or for the practice one")
    job.add_argument("config", help="a TOML file, such as data/two-nodes.toml")
    job.add_argument("--machine", required=True, help="a name in data/machines.yml, or practice")
    job.add_argument("--nodes", required=True, type=int, help="how many whole nodes")
    job.add_argument(
        "--hours", type=float, help="wall time (one hour, or what the queue allows, if not given)"
    )
    job.add_argument("--queue", help="a partition or QOS of the machine (the usual one if not given)")
    job.add_argument(
        "--launch", choices=("torchrun", "srun"), default="torchrun", help="what starts the ranks"
    )
    job.add_argument("--out", help="a new file for the script (printed if not given)")
    planner = add("plan", help="how long, how much memory, how many hours a training takes on a machine")
    plan_arguments(planner)
    check = add("check", help="run the checks of a lesson's exercises")
    check.add_argument(
        "lesson", nargs="?", help="a lesson, such as data-parallel; without it, every one you began"
    )
    add("progress", help="which exercises are solved")
    reset = add("reset", help="put a lesson's exercises back; your answers are kept aside")
    reset.add_argument("lesson", help="a lesson, such as data-parallel")
    return top


def prepare_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", nargs="?", help="texts, JSON lines, Parquet (without one: tokenise the course's text once)")
    add("--corpus", default="python-source", help="the course's text: a name in data/corpus.yml")
    add("--out", help="a folder for the shards; a call that was interrupted is taken up again")
    add("--tokenizer", metavar="FILE", help="a tokenizer.json (the course's own if not given)")
    add("--end", metavar="TOKEN", help="the token that closes a document (the tokenizer's usual one)")
    add("--languages", metavar="de,fr", help="keep documents in these languages only")
    add(
        "--similar",
        type=float,
        default=0.8,
        help="remove what is so similar to an earlier text (0.8; 0: none)",
    )
    add("--keep-personal-data", action="store_true", help="do not blot out e-mail addresses, phone numbers …")
    add("--opt-out", metavar="FILE", help="a list of paths, addresses and checksums to leave out")
    add("--licence", default="unknown", help="the licence of texts that bring none")
    add("--field", default="text", help="where the text is in a JSON record or Parquet file (text)")
    add("--validation", type=int, default=100, help="hold out one document in so many (100; 0: none)")
    add("--largest", type=float, default=4, metavar="MIB", help="refuse larger documents (4)")
    add("--partition", type=float, default=32, metavar="MIB", help="work for one task (32)")
    add("--skip-unreadable", action="store_true", help="leave damaged files out instead of ending")
    add("--workers", type=int, help="processes (one for each core)")


def plan_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--model",
        help="a public one, such as llama-3-8b, or sizes: layers=12,hidden=768,heads=12,ffn=2048,vocab=32000",
    )
    add("--machine", help="a name in data/machines.yml, such as lumi-g")
    add("--nodes", type=int, default=1, help="how many whole nodes (1 if not given)")
    add("--seq", type=int, default=4096, help="tokens of a sequence (4096)")
    add("--global-batch", type=int, default=1024, help="sequences of a step (1024)")
    add("--tokens", type=float, default=0.0, help="tokens of the whole training, such as 100e9")
    for way, kind in (("tp", "tensor"), ("pp", "pipeline"), ("cp", "context"), ("ep", "expert")):
        add(f"--{way}", type=int, help=f"ways of {kind} parallelism; without a layout the best is searched")
    add("--vp", type=int, help="chunks of the model in each pipeline stage")
    add("--zero", type=int, help="stage of ZeRO, 0 to 3")
    add("--micro-batch", type=int, help="sequences that a device works on at once")
    add("--recompute", help="none, selective or full")
    add("--software", default="megatron", help="the training program (megatron)")
    add("--precision", choices=("bf16", "fp8"), default="bf16", help="of the matrix products (bf16)")
    add("--price", type=float, default=0.0, help="price of one unit of the machine's bill")
    add(
        "--deadline", type=float, metavar="HOURS", help="the cheapest number of nodes, up to --nodes, in time"
    )
    add("--scale", action="store_true", help="how many nodes, up to --nodes, still pay")
    add("--largest", type=float, metavar="NODE_HOURS", help="the largest public model within so many")
    add("--json", action="store_true", help="print the plan as JSON")
    add("--batch", metavar="FILE.csv", help="predict every row of a table of runs")
    add("--out", metavar="OUT.csv", help="a file for the predicted table")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one command. Modules are imported here, so that each command loads only what it needs."""
    match arguments.command:
        case "doctor":
            from .computer import doctor

            return doctor.main(as_json=arguments.json)
        case "prepare" if arguments.folder or arguments.out:
            from .text import prepare_shell

            prepare_shell.main(arguments)
        case "prepare":
            from .text import corpus

            text = corpus.prepare(arguments.corpus)
            print(
                f"{len(text.tokens('train')):,} training and {len(text.tokens('valid')):,} validation tokens."
            )
        case "train":
            from . import config, train

            settings = config.load(arguments.config)
            history = train.train(settings)
            if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0:
                last = history[-1]
                print(
                    f"step {last.step + 1}: loss {last.loss:.3f}, validation loss {last.validation_loss:.3f}"
                )
                print(f"metrics and model are in .scaleup/runs/{settings.out}")
        case "practice":
            return run_practice(arguments)
        case "job":
            from .machines import job

            job.main(arguments)
        case "plan":
            if arguments.batch or arguments.out:
                from .plan.evidence import predict_table

                predict_table.main(arguments.batch, arguments.out)
            else:
                from .plan import shell

                shell.main(arguments)
        case "check":
            from . import exercises

            return exercises.check_lesson(arguments.lesson)
        case "progress":
            from . import exercises

            print(exercises.progress_table())
        case "reset":
            from . import exercises

            exercises.reset(arguments.lesson)
    return 0


def run_practice(arguments: argparse.Namespace) -> int:
    from .practice import cluster

    match arguments.action:
        case "up":
            cluster.up(arguments.nodes, arguments.link, arguments.mode)
            print(cluster.status())
        case "down":
            print("Stopped." if cluster.down() else "It was not up.")
        case "status":
            print(cluster.status())
            return 0 if cluster.is_up() else 1
        case "shell":
            return cluster.shell()
        case "check":
            from .practice import validator

            return validator.main(Path(arguments.script), arguments.machine)
    return 0


def main(words: list[str] | None = None) -> int:
    """Exit status 0: done. 1: done, and something is not right yet. 2: it could not be done, and why."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ shows a question mark
    arguments = parser().parse_args(words)
    try:
        return run(arguments)
    except CourseError as error:
        print(f"scaleup: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "scaleup":
            raise
        print(
            f"scaleup: the package '{error.name}' is missing from {sys.executable}. "
            f"Run 'make setup', then use .venv/bin/scaleup.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\nscaleup: stopped; what was finished is kept.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
