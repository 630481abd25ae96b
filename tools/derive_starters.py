"""Derive every starter that is not in step with its solution: `python -m tools.derive_starters`."""

from scaleup.exercises.starters import derive_all
from scaleup.paths import root


def main() -> None:
    """Says which were written. Answers in them are lost."""
    for written in derive_all():
        print(f"derived {written.relative_to(root())}")


if __name__ == "__main__":
    main()
