"""The second step of a preparing: which documents repeat an earlier one, across all partitions.

A bucket holds the keys that leave the same remainder, so equal keys are always in one bucket, and buckets
can be worked on apart. A document's number has its partition in the upper 32 bits, its place in the lower.
"""

from __future__ import annotations

import numpy as np

from . import duplicates
from .cleaning import KEY
from .steps import Preparation, load_array, save_array, task

REPEAT = np.dtype([("number", "<i8"), ("of", "<i8"), ("near", "?")])
AT_ONCE = 2**15  # pairs whose signatures are held together


@task
def compare(prep: Preparation, bucket: int) -> None:
    """Write the repeats of one bucket, sorted by the number of the later document."""
    if prep.facts("compare", bucket):
        return
    keys, numbers, near = bucket_of(prep, bucket)
    exact_pairs = duplicates.meetings(keys[~near], numbers[~near])
    near_pairs = duplicates.meetings(keys[near], numbers[near])
    found = [
        repeats(exact_pairs[checked(exact_pairs, Hashes(prep).equal)], near=False),
        repeats(near_pairs[checked(near_pairs, Signatures(prep).close)], near=True),
    ]
    save_array(prep.file("compare", bucket, ".repeats"), np.sort(np.concatenate(found), order="number"))
    prep.finish("compare", bucket, {"compared": len(exact_pairs) + len(near_pairs)})


def bucket_of(prep: Preparation, bucket: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(keys, numbers of their documents, whether they are of a band) of one bucket."""
    parts = []
    for partition in range(prep.partitions):
        begin, end = load_array(prep.file("clean", partition, ".offsets"), np.int64)[bucket : bucket + 2]
        part = np.array(load_array(prep.file("clean", partition, ".keys"), KEY)[begin:end])
        parts.append((part["key"], part["index"].astype(np.int64) | partition << 32, part["near"]))
    keys, numbers, near = (np.concatenate(column) for column in zip(*parts, strict=True))
    return keys, numbers, near


def repeats(pairs: np.ndarray, near: bool) -> np.ndarray:
    found = np.zeros(len(pairs), REPEAT)
    found["number"], found["of"], found["near"] = pairs[:, 0], pairs[:, 1], near
    return found


def checked(pairs: np.ndarray, agree) -> np.ndarray:
    """(pairs,) bool: `agree` is asked about some pairs at a time."""
    parts = [agree(pairs[at : at + AT_ONCE]) for at in range(0, len(pairs), AT_ONCE)]
    return np.concatenate([np.empty(0, bool), *parts])


class Rows:
    """Rows of arrays that lie in one file for each partition, by the number of a document."""

    def __init__(self, prep: Preparation) -> None:
        self.prep = prep

    def open(self, partition: int) -> np.ndarray:
        raise NotImplementedError

    def of(self, numbers: np.ndarray) -> np.ndarray:
        partitions = numbers >> 32
        rows = None
        for partition in np.unique(partitions):
            here = partitions == partition
            found = self.open(int(partition))[numbers[here] & 0xFFFFFFFF]
            if rows is None:
                rows = np.empty((len(numbers), *found.shape[1:]), found.dtype)
            rows[here] = found
        return rows


class Hashes(Rows):
    def open(self, partition: int) -> np.ndarray:
        return load_array(self.prep.file("clean", partition, ".hashes"), np.uint64).reshape(-1, 2)

    def equal(self, pairs: np.ndarray) -> np.ndarray:
        """All 128 bits, where the key was 64 of them."""
        return (self.of(pairs[:, 0]) == self.of(pairs[:, 1])).all(axis=1)


class Signatures(Rows):
    def open(self, partition: int) -> np.ndarray:
        file = self.prep.file("clean", partition, ".signatures")
        return load_array(file, np.uint32).reshape(-1, duplicates.PERMUTATIONS)

    def close(self, pairs: np.ndarray) -> np.ndarray:
        """Similar by all 128 numbers, where the key was one band."""
        similar = duplicates.similarity(self.of(pairs[:, 0]), self.of(pairs[:, 1]))
        return similar >= self.prep.recipe.threshold


def repeats_of(prep: Preparation, partition: int) -> dict[int, tuple[int, bool]]:
    """{place in the partition: (number of an earlier document, whether only nearly)} of what goes."""
    found: dict[int, tuple[int, bool]] = {}
    for bucket in range(prep.buckets):
        table = load_array(prep.file("compare", bucket, ".repeats"), REPEAT)
        begin, end = np.searchsorted(table["number"], [partition << 32, (partition + 1) << 32])
        for number, of, near in table[begin:end].tolist():
            place = number & 0xFFFFFFFF
            best = min((near, of), found.get(place, (near, of))[::-1])
            found[place] = best[1], best[0]
    return found
