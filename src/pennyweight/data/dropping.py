"""Altered copies of texts: what is learnt from a copy has to hold for its whole text."""

from __future__ import annotations

import numpy as np


def drop_words(text: str, *, share: float, generator: np.random.Generator) -> str:
    """Leave out each word with probability ``share``, but not all of them; words are what white space separates."""
    words = text.split()
    if not words:
        return text
    kept = generator.random(len(words)) >= share
    kept[generator.integers(len(words))] |= not kept.any()
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)
