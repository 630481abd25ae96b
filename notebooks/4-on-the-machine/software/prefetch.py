"""What a download leaves in the cache of Hugging Face's library, laid down by hand."""

from pathlib import Path

commit = "0" * 40  # the version; a real one is a hash
model = Path("cache/huggingface/hub/models--scaleup--tiny")
for name, text in {"refs/main": commit, f"snapshots/{commit}/config.json": '{"layers": 4}\n'}.items():
    path = model / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
