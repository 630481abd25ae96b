"""Duplicates: equal hashes, estimated similarities, and bands that meet as the formula says."""

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleup.text.prepare import duplicates
from scaleup.text.prepare.duplicates import (
    PERMUTATIONS,
    band_keys,
    bands_for,
    chance_to_meet,
    jaccard,
    meetings,
    near_duplicates,
    shingles,
    signatures,
    similarity,
)


def made_up(words: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghij", k=6)) for _ in range(words)]


def similar_pair(words: int, changed: int, seed: int) -> tuple[str, str]:
    """Two texts of which the second has its last words changed."""
    first = made_up(words, seed)
    return " ".join(first), " ".join(first[: words - changed] + made_up(changed, -seed - 1))


def test_case_spaces_and_composition_do_not_make_a_text_another():
    assert duplicates.exact("Ein  Äpfel\n") == duplicates.exact("ein A\u0308PFEL")
    assert duplicates.exact("ein Apfel") != duplicates.exact("ein Äpfel")


def test_shingles_are_the_sequences_of_words():
    assert shingles("a b c d e f") == {"a b c d e", "b c d e f"}
    assert shingles("A b") == {"a b"} and shingles("") == {""}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("abc ", max_size=40), min_size=1, max_size=8))
def test_a_signature_depends_on_its_text_alone(texts):
    together = signatures(texts)
    for text, found in zip(texts, together, strict=True):
        assert (signatures([text])[0] == found).all()


def test_signatures_estimate_the_jaccard_similarity():
    """128 numbers: the error of one estimate is sqrt(s (1 - s) / 128), at most 0.044."""
    errors = []
    for seed in range(40):
        a, b = similar_pair(200, 10 + seed * 3, seed)
        found = signatures([a, b])
        errors.append(similarity(found[0], found[1]) - jaccard(shingles(a), shingles(b)))
    assert abs(np.mean(errors)) < 0.02 and np.std(errors) < 0.06


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_let_a_pair_at_the_threshold_meet(threshold):
    bands, rows = bands_for(threshold)
    assert bands * rows <= PERMUTATIONS
    assert chance_to_meet(threshold, bands, rows) >= 0.95
    more = rows + 1
    if more <= PERMUTATIONS:
        assert chance_to_meet(threshold, PERMUTATIONS // more, more) < 0.95 or threshold == 1.0


def test_pairs_meet_as_often_as_the_formula_says():
    bands, rows = bands_for(0.8)
    met, expected = [], []
    for seed in range(150):
        a, b = similar_pair(200, 40, seed)
        keys = band_keys(signatures([a, b]), bands, rows)
        met.append(bool((keys[0] == keys[1]).any()))
        expected.append(chance_to_meet(jaccard(shingles(a), shingles(b)), bands, rows))
    assert np.mean(met) == pytest.approx(np.mean(expected), abs=0.12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30), st.randoms())
def test_meetings_are_those_of_a_plain_search_in_any_order(found, rng):
    def pairs(items):
        keys, numbers = ([item[i] for item in items] for i in (0, 1))
        return meetings(np.array(keys, np.uint64), np.array(numbers, np.int64)).tolist()

    first = {}
    for key, number in sorted(found):
        first.setdefault(key, number)
    expected = sorted({(number, first[key]) for key, number in found if number != first[key]})
    assert [tuple(pair) for pair in pairs(found)] == expected
    shuffled = found[:]
    rng.shuffle(shuffled)
    assert pairs(shuffled) == pairs(found)


def test_near_duplicates_name_the_first_and_leave_the_others():
    a, b = similar_pair(120, 4, 1)
    c = " ".join(made_up(120, 9))
    assert near_duplicates([a, c, b, a.upper()]) == {2: 0, 3: 0}
    assert near_duplicates([c, a]) == {} and near_duplicates([]) == {}
    assert near_duplicates([a, similar_pair(120, 60, 1)[1]]) == {}


def test_signatures_are_those_of_the_pinned_library():
    """Other numbers would mean that old and new signatures cannot be compared."""
    assert re.fullmatch(r"[\d ]+", " ".join(map(str, signatures(["one two three"])[0][:4])))
    assert signatures([]).shape == (0, PERMUTATIONS)
