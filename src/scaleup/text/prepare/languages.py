"""Which language a text is in, and how sure that is, from a table of letter sequences that py3langid brings.

A few words are seldom enough: "Information" is German, English, French and Danish. The confidence says so,
for a text that mixes languages too, and it is a number between 0 and 1 without being a probability that the
answer is right.
"""

from __future__ import annotations

import functools
from typing import Any

SAMPLE = 500  # characters that are looked at: more make it slower and hardly surer


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identify(text: str) -> tuple[str, float]:
    """(language as an ISO 639-1 code such as "de", confidence from 0 to 1) of the first characters."""
    language, confidence = _identifier().classify(text[:SAMPLE])
    return language, float(confidence)


def known() -> list[str]:
    """The codes of all languages that can be told apart."""
    return sorted(_identifier().labels)
