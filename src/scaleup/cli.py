"""`scaleup`: one word for each thing the course does from a shell."""

from __future__ import annotations

import argparse
import os
import sys

from .errors import CourseError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="scaleup", description="From one GPU to a supercomputer: the course's tool."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser
    doctor = add("doctor", help="look at this machine: what works, what is missing, what to do")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    prepare = add("prepare", help="tokenise the course's text once")
    prepare.add_argument("--corpus", default="python-source", help="a name in data/corpus.yml")
    train = add("train", help="train the course's GPT, alone or under torchrun or srun")
    train.add_argument("--config", required=True, help="a TOML file, such as data/first-run.toml")
    check = add("check", help="run the checks of a lesson's exercises")
    check.add_argument(
        "lesson", nargs="?", help="a lesson, such as data-parallel; without it, every one you began"
    )
    add("progress", help="which exercises are solved")
    reset = add("reset", help="put a lesson's exercises back; your answers are kept aside")
    reset.add_argument("lesson", help="a lesson, such as data-parallel")
    return top


def run(arguments: argparse.Namespace) -> int:
    """Carry out one command. Modules are imported here, so that each command loads only what it needs."""
    match arguments.command:
        case "doctor":
            from . import doctor

            return doctor.main(as_json=arguments.json)
        case "prepare":
            from . import corpus

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


def main(words: list[str] | None = None) -> int:
    """Exit status 0: done. 1: done, and something is not right yet. 2: it could not be done, and why."""
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
