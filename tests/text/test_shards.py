"""Shards on disk: what was written is read, in Megatron's format, and what is damaged is told."""

import json
import struct

import numpy as np
import pytest

from scaleup.errors import CourseError
from scaleup.files import write_whole
from scaleup.text import shards

DOCUMENTS = [np.array(ids, dtype=np.uint16) for ids in ([5, 6, 7], [65_535], [1, 2])]


@pytest.fixture
def stem(tmp_path):
    facts = shards.write_shard(tmp_path / "train-00000", DOCUMENTS, np.uint16)
    write_whole(tmp_path / "manifest.json", json.dumps({"shards": [facts]}))
    return tmp_path / "train-00000"


def test_what_was_written_is_read(stem):
    shard = shards.open_shard(stem)
    assert len(shard) == 3
    assert [shard.document(i).tolist() for i in range(3)] == [ids.tolist() for ids in DOCUMENTS]
    assert shard.tokens.tolist() == [5, 6, 7, 65_535, 1, 2]
    shards.verify(stem.parent)


def test_the_index_is_megatrons_to_the_byte(stem):
    index = stem.with_name("train-00000.idx").read_bytes()
    assert index == (
        b"MMIDIDX\0\0"
        + struct.pack("<QBQQ", 1, 8, 3, 4)
        + struct.pack("<3i", 3, 1, 2)
        + struct.pack("<3q", 0, 6, 8)
        + struct.pack("<4q", 0, 1, 2, 3)
    )
    assert stem.with_name("train-00000.bin").read_bytes() == np.concatenate(DOCUMENTS).tobytes()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_a_shard_may_be_empty(tmp_path, dtype):
    facts = shards.write_shard(tmp_path / "none", [], dtype)
    assert (facts["documents"], facts["tokens"]) == (0, 0)
    assert len(shards.open_shard(tmp_path / "none").tokens) == 0


def test_a_large_vocabulary_gets_larger_ids():
    assert shards.smallest_type(65_536) is np.uint16
    assert shards.smallest_type(65_537) is np.int32


def test_a_damaged_shard_is_told(stem):
    ids, index = (stem.with_name(f"train-00000.{kind}") for kind in ("bin", "idx"))
    whole, whole_index = ids.read_bytes(), index.read_bytes()
    ids.write_bytes(whole[:-2])
    with pytest.raises(CourseError, match="10 bytes, and its index says 12"):
        shards.open_shard(stem)
    ids.write_bytes(whole[:-2] + b"\0\0")
    with pytest.raises(CourseError, match="its checksum differs"):
        shards.verify(stem.parent)
    for cut, said in ((3, "is not an index"), (20, "is not an index"), (60, "is cut off")):
        index.write_bytes(whole_index[:cut])
        with pytest.raises(CourseError, match=said):
            shards.open_shard(stem)
    index.write_bytes(whole_index.replace(struct.pack("<QB", 1, 8), struct.pack("<QB", 2, 8)))
    with pytest.raises(CourseError, match="version 2"):
        shards.open_shard(stem)
    index.unlink()
    with pytest.raises(CourseError, match="has no train-00000.idx"):
        shards.open_shard(stem)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "has no manifest.json"), ("{", "is damaged"), ("[]", "names no shards")]
)
def test_a_manifest_is_there_or_the_shards_are_not(tmp_path, content, said):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(CourseError, match=said):
        shards.read_manifest(tmp_path)
