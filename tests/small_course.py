"""A course in a folder of its own whose text is small, for tests that prepare or train."""

import dataclasses
import hashlib
import importlib.metadata
import json
import shutil
from pathlib import Path

import yaml

from scaleup.config import Config
from scaleup.text import corpus

HOME = Path(__file__).resolve().parents[1]
VOCAB = 300
_facts: dict = {}


def small_facts() -> dict:
    """The line of a corpus.yml for a package that is small and installed anyway."""
    if not _facts:
        about = {"package": "tqdm", "version": importlib.metadata.version("tqdm"), "vocab_size": VOCAB}
        files = corpus.source_files(about)
        tokenizer = corpus.train_tokenizer([t for p, t in files if not corpus.is_validation(p)], VOCAB)
        digest = hashlib.sha256()
        for held_out in (False, True):
            texts = [text for path, text in files if corpus.is_validation(path) == held_out]
            digest.update(corpus.encode(tokenizer, texts).tobytes())
        _facts.update(about, sha256=corpus.checksum(files), tokens_sha256=digest.hexdigest())
    return dict(_facts)


def make_course(folder: Path, **changes: object) -> Path:
    """A course folder whose text is small; its `.scaleup` is its own. Tell processes by SCALEUP_HOME."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        shutil.copytree(HOME / "data", folder / "data")
    known = {"python-source": small_facts() | changes}
    (folder / "data" / "corpus.yml").write_text(yaml.safe_dump(known))
    return folder


def as_toml(config: Config) -> str:
    """A configuration as `scaleup train` reads it."""
    tables = dataclasses.asdict(config)
    lines = [f"out = {json.dumps(tables.pop('out'))}"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)
