"""English synonyms from WordNet (Miller 1995), read by NLTK where both are on this machine; nothing is downloaded."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pennyweight.data.augmentation import Synonyms
from pennyweight.errors import InputError

_REMEDY = "pip install 'pennyweight[wordnet]', then python -m nltk.downloader wordnet"
_KEPT_WORDS = 1 << 17


def open_wordnet() -> Synonyms:
    """Synonyms of a word: all lemmas of all its meanings, whatever its part of speech, in alphabetical order.

    Raises:
        InputError: NLTK is not installed, or finds no WordNet where it looks for its data.
    """
    try:
        from nltk.corpus import wordnet
    except ImportError:
        raise InputError(f"augmentation.thesaurus = 'wordnet' needs NLTK and WordNet: {_REMEDY}") from None
    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise InputError(f"augmentation.thesaurus = 'wordnet': NLTK finds no WordNet: {_REMEDY}") from None

    @functools.lru_cache(maxsize=_KEPT_WORDS)
    def synonyms(word: str) -> Sequence[str]:
        names = {name.replace("_", " ") for synset in wordnet.synsets(word) for name in synset.lemma_names()}
        return tuple(sorted(name for name in names if name.lower() != word))

    return synonyms
