"""Texts that a corpus holds twice: word for word, or nearly so.

Word for word: two texts are equal where their hashes are, after case and spaces were made equal.

Nearly: a text is taken as the set of its word sequences (shingles). Two sets are as similar as the share of
their members that both have, of all that any has (Jaccard). MinHash keeps 128 numbers of each set, and the
share of equal numbers estimates the similarity, with an error of about 0.04. To avoid comparing all pairs the
numbers are cut into bands, and only texts that agree in a whole band meet (Broder 1997; Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3).

Of a pair the later one goes, in order of path and position, so the result depends on no order of work. A text
that was removed still removes its own later neighbours.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

PERMUTATIONS = 128  # numbers that are kept of each text
SHINGLE = 5  # words in a sequence
SEED = 20  # of MinHash: signatures can be compared only with signatures of the same seed
SURE = 0.95  # a pair exactly at the threshold shall meet with at least this chance


def normal(text: str) -> str:
    """The text with equal case, composed letters and single spaces: what `exact` compares."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def exact(text: str) -> tuple[int, int]:
    """Two 64-bit numbers that are equal for texts that are equal but for case and spaces (BLAKE2)."""
    digest = hashlib.blake2b(normal(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def shingles(text: str, words: int = SHINGLE) -> set[str]:
    """All sequences of `words` words that follow each other; a shorter text is one sequence."""
    split = normal(text).split()
    return {" ".join(split[i : i + words]) for i in range(max(1, len(split) - words + 1))}


def jaccard(a: set, b: set) -> float:
    """The share of members that both sets have, of all that any of them has."""
    return len(a & b) / len(a | b) if a or b else 1.0


def signatures(texts: Sequence[str]) -> np.ndarray:
    """The MinHash of each text: (texts, 128) uint32, equal in every process."""
    from rensa import RMinHash

    if not texts:
        return np.empty((0, PERMUTATIONS), np.uint32)
    sets = [sorted(shingles(text)) for text in texts]
    matrix = RMinHash.digest_matrix_from_token_sets(sets, PERMUTATIONS, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32)


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of equal numbers, which estimates the Jaccard similarity: (..., 128) twice -> (...)."""
    return (a == b).mean(axis=-1)


def chance_to_meet(similarity: float, bands: int, rows: int) -> float:
    """How likely two texts of this similarity agree in one band at least: 1 - (1 - s^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


def bands_for(threshold: float) -> tuple[int, int]:
    """(bands, rows of each): the most rows with which a pair at the threshold meets with 95 % chance.

    More rows to a band let fewer pairs meet that are not similar, and so there is less to compare.
    """
    fitting = [rows for rows in range(1, PERMUTATIONS + 1)
               if chance_to_meet(threshold, PERMUTATIONS // rows, rows) >= SURE]  # fmt: skip
    rows = max(fitting, default=1)
    return PERMUTATIONS // rows, rows


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One number for each band of each text: (texts, 128) uint32 -> (texts, bands) uint64."""
    cut = signatures[:, : bands * rows].reshape(-1, bands, rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), cut.shape[:2]).copy()
    for row in range(rows):
        keys = mix(keys ^ cut[:, :, row])
    return keys


def mix(numbers: np.ndarray) -> np.ndarray:
    """Spread 64-bit numbers evenly: the finishing steps of SplitMix64 (Steele, Lea and Flood 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def meetings(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Who shares a key with whom: (pairs, 2) of (a text, the first text with the same key), each pair once.

    `keys` are (n,) uint64 and `numbers`, (n,) int64, say whose they are: smaller means earlier.
    """
    order = np.lexsort((numbers, keys))
    keys, numbers = keys[order], numbers[order]
    starts = (
        np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, int)
    )
    firsts = np.repeat(numbers[starts], np.diff(np.append(starts, len(keys))))
    pairs = np.stack([numbers, firsts], axis=1)
    return np.unique(pairs[numbers != firsts], axis=0)


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> dict[int, int]:
    """{a text: an earlier one that it nearly repeats}, by place in `texts`. All in memory: for a few."""
    found = signatures(texts)
    bands, rows = bands_for(threshold)
    keys = band_keys(found, bands, rows)
    pairs = meetings(keys.ravel(), np.repeat(np.arange(len(texts)), bands))
    close = similarity(found[pairs[:, 0]], found[pairs[:, 1]]) >= threshold
    return {int(late): int(early) for late, early in reversed(pairs[close].tolist())}
