"""Answers in letters: a set of them, or a word for each. Each reader comes with what odd answers are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .register import NotYet
from .slips import Says, says


def letter_set(last: str, such_as: str) -> tuple[Callable[[Any], set[str]], list[Says]]:
    """Reads letters from a to `last`, as a set, a list, a tuple or a text such as "ab" or "a, b".

    `such_as` are two letters of the example that an odd answer is told: take wrong ones.
    """
    ask = f'write letters from a to {last}, such as {{"{such_as[0]}", "{such_as[1]}"}}'

    def see(answer: Any) -> set[str]:
        given = answer.replace(",", " ").replace(" ", "") if isinstance(answer, str) else answer
        if not isinstance(given, str | set | frozenset | list | tuple):
            raise NotYet(ask)
        letters = {str(each).strip().lower() for each in given}
        if not all(len(letter) == 1 and "a" <= letter <= last for letter in letters):
            raise NotYet(ask)
        return letters

    return see, [says(3, ask), says({"a", chr(ord(last) + 1)}, ask), says(["ab"], ask)]


def word_each(right: Mapping[str, str]) -> tuple[Callable[[Any], dict[str, str]], list[Says]]:
    """Reads a dict with the letters of `right`, each with one of its words, in any case.

    The example that an odd answer is told has the last letter's word for the first.
    """
    letters, words = sorted(right), tuple(dict.fromkeys(right.values()))
    first, usual = letters[0], {word.lower(): word for word in words}
    ask = f"write a dict with the letters {first} to {letters[-1]}, such as {{'{first}': '{words[-1]}', ...}}"
    odd = f"is not one of the words: {', '.join(words)}"

    def see(answer: Any) -> dict[str, str]:
        if not isinstance(answer, dict) or set(answer) != set(right):
            raise NotYet(ask)
        for letter, word in answer.items():
            if str(word).strip().lower() not in usual:
                raise NotYet(f"{letter}: {word!r:.30} {odd}")
        return {letter: usual[str(word).strip().lower()] for letter, word in answer.items()}

    return see, [
        says([words[0]], ask),
        says(dict(right) | {first: "something"}, f"{first}: 'something' {odd}"),
    ]
