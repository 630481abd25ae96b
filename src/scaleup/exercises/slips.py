"""A check is a table of slips: what the answer shows, the sentence it gets, an answer that shows it.

    rules(
        "average",
        lambda answer: answer([1.0, 3.0]),
        [
            slip(
                lambda value: value == 4.0,
                "this is the sum of the gradients: divide it by the world size",
                "def average(grads):\\n    return sum(grads)",
            ),
        ],
        needs="average",
        example=code,
        hint="How many ranks contributed to the sum?",
        done="the average of two ranks is right",
    )

The first slip whose test holds is told; where none holds the answer is right. A slip is written once: its
examples are what the tests try, and each must get exactly its sentence. `values` and `formula` are tables
for the two usual kinds of answer. All three register an exercise with `register.exercise`.
"""

from __future__ import annotations

import copy
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CourseError
from .register import LIMIT, NotYet, code, exercise, known_wrong, needs_function

Sentence = str | Callable[[Any], str]


@dataclass(frozen=True)
class Says:
    """An example together with the whole sentence that it gets, or with what fills the gaps of its slip's."""

    answer: Any
    sentence: str = ""
    gaps: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Slip:
    """One mistake: `test` of what was seen, the `sentence` for it, at least one example."""

    test: Callable[[Any], bool]
    sentence: Sentence
    examples: tuple[Any, ...]


def slip(test: Callable[[Any], bool], sentence: Sentence, *examples: Any) -> Slip:
    """A row of a table.

    Where `sentence` is a function of what was seen, each example is `says(answer, text)`. Where it has gaps,
    such as "it takes {minutes:g} minutes", an example is `says(answer, minutes=15)`, and the gap is filled
    with what was seen's attribute of that name.
    """
    if isinstance(sentence, str) and any(isinstance(each, Says) and each.gaps for each in examples):
        examples = tuple(Says(each.answer, sentence.format(**each.gaps)) for each in examples)
        return Slip(test, lambda seen: sentence.format_map(_Attributes(seen)), examples)
    text = sentence if isinstance(sentence, str) else sentence.__doc__ or "a sentence made from the answer"
    if not examples:
        raise CourseError(f"The slip '{text}' has no example. Add an answer that must get this sentence.")
    if not isinstance(sentence, str) and not all(isinstance(each, Says) for each in examples):
        raise CourseError("The sentence of this slip is made from the answer: write its examples as says(…).")
    return Slip(test, sentence, examples)


class _Attributes:
    """What was seen, as a mapping of its attributes."""

    def __init__(self, seen: Any) -> None:
        self.seen = seen

    def __getitem__(self, name: str) -> Any:
        return getattr(self.seen, name)


def says(answer: Any, sentence: str = "", /, **gaps: Any) -> Says:
    """An example, and the exact sentence that it must get, or what fills the gaps of its slip's sentence."""
    return Says(answer, sentence, gaps)


def rules(
    name: str,
    see: Callable[[Any], Any],
    slips: Iterable[Slip],
    *,
    hint: str,
    done: Sentence,
    needs: str | None = None,
    example: Callable[[Any], Any] = lambda given: given,
    also: Sequence[Says] = (),
    limit: float = LIMIT,
    file: bool = False,
) -> None:
    """Registers exercise `name`: the first of `slips` that holds for `see(answer)` is told, else `done`.

    `see` may raise `NotYet` for an answer that it cannot look at; such answers stand in `also`. It may also
    yield what it saw, and is closed after the table was read: tests can look further meanwhile. With
    `needs` the answer has to be a function of that name. `example` turns what is written as an example
    into an answer, such as `code` for source text. `limit` (seconds) and `file` are those of `exercise`.
    """
    table = tuple(slips)

    @exercise(name, hint=hint, limit=limit, file=file)
    def check(answer: Any) -> str:
        if needs:
            needs_function(answer, needs)
        seen = see(answer)
        if not inspect.isgenerator(seen):
            return verdict(seen)
        try:
            return verdict(next(seen))
        finally:
            seen.close()

    def verdict(seen: Any) -> str:
        for row in table:
            if row.test(seen):
                raise NotYet(row.sentence if isinstance(row.sentence, str) else row.sentence(seen))
        return done if isinstance(done, str) else done(seen)

    for row in table:
        for each in row.examples:
            given = each if isinstance(each, Says) else Says(each, row.sentence)
            known_wrong(name, example(given.answer), given.sentence)
    for each in also:
        known_wrong(name, example(each.answer), each.sentence)


def is_number(value: Any) -> bool:
    """A finite number and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def close(given: Any, right: Any, within: float) -> bool:
    """Whether two numbers, or two tuples of numbers of one length, differ by at most the share `within`."""
    given, right = ((x,) if not isinstance(x, tuple | list) else tuple(x) for x in (given, right))
    return len(given) == len(right) and all(
        math.isclose(x, y, rel_tol=within) for x, y in zip(given, right, strict=True)
    )


def values(
    name: str,
    right: float | tuple[float, ...],
    slips: Mapping[Any, str],
    *,
    ask: str,
    otherwise: Slip,
    hint: str,
    done: Sentence,
    within: float = 1e-2,
    also: Sequence[Says] = (),
) -> None:
    """The answer is a number, or a tuple of as many numbers as `right`.

    `slips` are {wrong value: sentence}, each an example of itself. One that differs from `right` in a single
    number is told for that number, too, when others are wrong as well. Where none is met and the answer is
    not `right` up to the share `within`, `otherwise` is told, and its test is not looked at. `ask` answers
    what has another form. Tensors and arrays of numbers are taken as numbers.
    """
    count = len(right) if isinstance(right, tuple) else 1
    shapeless = [says("a word", ask), says([1.0] * (count + 1), ask)]

    def plain(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else value

    def see(answer: Any) -> Any:
        answer = plain(answer)
        given = tuple(map(plain, answer)) if isinstance(answer, tuple | list) else (answer,)
        if len(given) != count or not all(map(is_number, given)):
            raise NotYet(ask)
        return given if count > 1 else given[0]

    table = [slip(lambda given, value=value: close(given, value, within), sentence, value)
             for value, sentence in slips.items()]  # fmt: skip
    for value, sentence in slips.items() if count > 1 else ():
        odd = [place for place in range(count) if not close(value[place], right[place], within)]
        if len(odd) == 1:
            place, other = odd[0], (odd[0] + 1) % count
            also_wrong = (*value[:other], 7.77 * right[other] + 1.0, *value[other + 1 :])
            table.append(
                slip(
                    lambda given, place=place, value=value: close(given[place], value[place], within),
                    sentence,
                    also_wrong,
                )
            )
    table.append(slip(lambda given: not close(given, right, within), otherwise.sentence, *otherwise.examples))
    rules(name, see, table, hint=hint, done=done, also=[*shapeless, *also])


@dataclass(frozen=True)
class Off:
    """Where a formula first differed: the arguments, the right value, the value it gave."""

    row: tuple
    want: float
    got: float


def formula(
    name: str,
    signature: str,
    right: str,
    on: Sequence[tuple],
    slips: Mapping[str, str],
    *,
    otherwise: Callable[[Off], str],
    hint: str,
    done: Sentence,
    within: float = 1e-2,
    also: Sequence[Says] = (),
) -> None:
    """The answer is a function with `signature`, compared with the expression `right` on each row of `on`.

    `slips` are {wrong expression: sentence}; an answer that gives what one of them gives wherever it differs
    from `right` has made that slip. `math`'s names can be used in expressions. `otherwise` makes a sentence
    from where the answer first went off; an example of it stands in `also`.
    """
    function = signature.partition("(")[0]

    def made(expression: str) -> Callable[..., float]:
        return code(f"from math import *\ndef {signature}:\n    return {expression}")

    def value(function: Callable[..., float], row: tuple) -> float:
        try:
            return function(*row)
        except (ArithmeticError, LookupError, ValueError):
            return math.nan

    truth, wrong = made(right), {expression: made(expression) for expression in slips}

    def see(answer: Any) -> list[Off]:
        off: list[Off] = []
        for row in on:
            want = truth(*row)
            try:
                got = answer(*copy.deepcopy(row))
                got = got.tolist() if getattr(got, "ndim", None) == 0 else got  # a tensor of one number
                if not is_number(got):
                    raise NotYet(f"what {function} returns has to be a number, not {got!r:.40}")
            except Exception:
                if off:  # a row before shows the slip
                    break
                raise
            if not math.isclose(got, want, rel_tol=within):
                off.append(Off(row, want, got))
        return off

    def shows(off: list[Off], expression: str) -> bool:
        return bool(off) and all(
            math.isclose(each.got, value(wrong[expression], each.row), rel_tol=within) for each in off
        )

    def source(expression: str) -> str:
        return f"from math import *\ndef {signature}:\n    return {expression}"

    table = [slip(lambda off, e=expression: shows(off, e), sentence, source(expression))
             for expression, sentence in slips.items()]  # fmt: skip
    shapeless = says(source("'a word'"), f"what {function} returns has to be a number, not 'a word'")
    table.append(Slip(bool, lambda off: otherwise(off[0]), ()))
    rules(name, see, table, hint=hint, done=done, needs=function, example=code, also=[shapeless, *also])
