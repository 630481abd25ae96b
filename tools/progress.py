"""How far a measurement of maintainers has come."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """A bar on a terminal; in a log, a line for each part."""

    def __init__(self, total: int, unit: str) -> None:
        self._bar = tqdm(total=total, unit=unit, disable=not sys.stderr.isatty())

    def part(self, name: str) -> None:
        self._bar.set_description(name)
        if self._bar.disable:
            print(name, flush=True)

    def tick(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._bar.close()
