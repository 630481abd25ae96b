"""From text that is already installed to token shards on disk.

The default corpus is the source code of a package that PyTorch itself depends on, so it needs no download and
is the same on every platform. `data/corpus.yml` carries its licence, size and checksums. Shards are flat
arrays of uint16 token ids, read through a memory map: opening one costs nothing, whatever its size.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm

from ..errors import CourseError
from ..files import read_data, write_whole
from ..paths import state

END_OF_TEXT = "<|endoftext|>"
VALIDATION_SHARE = 16  # one file in 16, chosen by a hash of its path


@dataclass(frozen=True)
class Corpus:
    """Token shards on disk and the tokenizer that made them."""

    folder: Path
    vocab_size: int

    def tokens(self, split: str = "train") -> np.memmap:
        """All token ids of a split, "train" or "valid": a read-only memory map, shape (tokens,), uint16."""
        return np.memmap(self.folder / f"{split}.bin", dtype=np.uint16, mode="r")

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))


def manifest(name: str = "python-source") -> dict:
    """What `data/corpus.yml` says about a corpus."""
    known = {name: facts for name, facts in read_data("corpus.yml").items() if "tokens_sha256" in facts}
    if name not in known:
        raise CourseError(f"There is no corpus '{name}'. data/corpus.yml knows: {', '.join(known)}.")
    return known[name]


def source_files(facts: dict) -> list[tuple[str, str]]:
    """(path, text) of every file of the corpus, in order of path."""
    package = facts["package"]
    try:
        found = importlib.metadata.version(package)
        package_files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise CourseError(f"The corpus is the source of '{package}', which is not installed. "
                          f"Run 'make setup'.") from None  # fmt: skip
    if found != facts["version"]:
        raise CourseError(
            f"The corpus is made from {package} {facts['version']}, but {found} is installed. "
            f"Run: pip install {package}=={facts['version']}"
        )
    paths = sorted(
        (str(f), f.locate())
        for f in package_files
        if f.suffix == ".py" and f.parts[0] == package and "tests" not in f.parts
    )
    try:
        return [(name, Path(place).read_text(encoding="utf-8")) for name, place in paths]
    except (OSError, UnicodeDecodeError):
        raise CourseError(
            f"The installed source of {package} is damaged. "
            f"Reinstall it: pip install --force-reinstall --no-deps {package}=={facts['version']}"
        ) from None


def checksum(files: list[tuple[str, str]]) -> str:
    """SHA-256 over every path and text."""
    digest = hashlib.sha256()
    for name, text in files:
        digest.update(name.encode() + b"\0" + text.encode() + b"\0")
    return digest.hexdigest()


def is_validation(name: str) -> bool:
    """The same files are held out everywhere, whatever the order or number of ranks."""
    return hashlib.sha256(name.encode()).digest()[0] % VALIDATION_SHARE == 0


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE trained on `texts`: every string can be encoded, and decoding gives it back."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prepare(name: str = "python-source", quiet: bool = False) -> Corpus:
    """Tokenise the corpus once and keep it under `.scaleup/corpus/`; later calls return what is there.

    Every rank may call it at the same time: one of them does the work, the others wait for it. Raises
    CourseError if the text or the tokens differ from the checksums in `data/corpus.yml`.
    """
    facts = manifest(name)
    folder = state() / "corpus" / name
    if complete(folder, facts):
        return Corpus(folder, facts["vocab_size"])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not complete(folder, facts):  # another process may have made it while this one waited
            make(facts, folder, quiet)
    return Corpus(folder, facts["vocab_size"])


def complete(folder: Path, facts: dict) -> bool:
    """Whether the shards of exactly this corpus are there."""
    index = folder / "index.json"
    return index.exists() and json.loads(index.read_text()) == facts_that_matter(facts)


def make(facts: dict, folder: Path, quiet: bool) -> None:
    """Read the text, compare its checksum and build the shards."""
    files = source_files(facts)
    if checksum(files) != facts["sha256"]:
        raise CourseError(
            f"The installed source of {facts['package']} differs from the checksum in data/corpus.yml. "
            f"Reinstall it: pip install --force-reinstall --no-deps {facts['package']}=={facts['version']}"
        )
    build(files, facts, folder, quiet)


def build(files: list[tuple[str, str]], facts: dict, folder: Path, quiet: bool) -> None:
    """Write tokenizer, shards and, last, the index that says they are complete."""
    (folder / "index.json").unlink(missing_ok=True)  # from here on the shards are not complete
    progress = tqdm(total=3, desc="tokenizer", disable=quiet or not sys.stderr.isatty(), leave=False)
    train_files = [text for path, text in files if not is_validation(path)]
    tokenizer = train_tokenizer(train_files, facts["vocab_size"])
    progress.update()
    digest = hashlib.sha256()
    for split in ("train", "valid"):
        progress.set_description(f"{split} shard")
        texts = [text for path, text in files if is_validation(path) == (split == "valid")]
        shard = encode(tokenizer, texts)
        digest.update(shard.tobytes())
        write_whole(folder / f"{split}.bin", shard.tobytes())
        progress.update()
    progress.close()
    write_whole(folder / "tokenizer.json", tokenizer.to_str().encode())
    if digest.hexdigest() != facts["tokens_sha256"]:
        raise CourseError(
            "The tokens differ from the checksum in data/corpus.yml, so results would not be comparable. "
            "Run 'make setup' to get the pinned version of tokenizers."
        )
    write_whole(folder / "index.json", json.dumps(facts_that_matter(facts)).encode())


def facts_that_matter(facts: dict) -> dict:
    return {key: facts[key] for key in ("package", "version", "sha256", "vocab_size", "tokens_sha256")}


def encode(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """Token ids of all texts, an end-of-text token after each: shape (tokens,), uint16."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [np.array([*encoded.ids, end], dtype=np.uint16) for encoded in tokenizer.encode_batch(texts)]
    return np.concatenate(ids)
