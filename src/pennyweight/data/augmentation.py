"""New texts out of old ones, word by word (EDA; Wei & Zou 2019, arXiv 1901.11196).

A copy is a pure function of its seed and its text. Words are what white space separates, and single spaces separate
them in a copy. At the default strength a tenth of a text's words is changed, but one at least.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.recipe import AugmentationStep

Synonyms = Callable[[str], Sequence[str]]
"""From a word in small letters to words that may stand for it, in an order that does not change; none: empty."""

NEED_SYNONYMS: tuple[AugmentationStep, ...] = ("synonyms", "insert")

_TRIES = 10
_REPEATS = 3  # of an operation that changed nothing, such as two equal words swapped
_CORE = re.compile(r"(\W*)([^\W\d_]{2,})(\W*)")
# Words that hold an English sentence together: what stands in their place is rarely a synonym.
_FUNCTION_WORDS_IN_A_ROW = (
    "a about above after again against all also although am an and any are as at be because been before being below "
    "between both but by can could did do does doing down during each either else ever every few for from further had "
    "has have having he her here hers herself him himself his how however i if in into is it its itself just may me "
    "might mine more most must my myself neither no nor not now of off on once only or other our ours ourselves out "
    "over own per rather same shall she should since so some still such than that the their theirs them themselves "
    "then there these they this those though through to too under until up upon us very was we were what when where "
    "whether which while who whom whose why will with within without would yet you your yours yourself"
)
_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_IN_A_ROW.split())


def no_synonyms(_word: str) -> Sequence[str]:
    """Synonyms where there are none."""
    return ()


@dataclass(frozen=True)
class Augmenter:
    """Makes altered copies of texts."""

    operations: tuple[AugmentationStep, ...]
    """What may be done; each copy has one of them done to it, all equally often where there are enough copies."""
    strength: float = 0.1
    """Share of a text's words that is changed; one word at least."""
    synonyms: Synonyms = no_synonyms
    """Where `synonyms` and `insert` take words from."""

    def copies(self, text: str, count: int, *, seed: str) -> list[str]:
        """Altered copies of a text; the first few are the same, however many are asked for.

        Where an operation leaves the text as it is, it and then the next ones are tried again; where none changes it (a
        single word without a synonym), the copy equals the text, its white space aside.

        Args:
            text: a cleaned text.
            count: number of copies.
            seed: what else the copies follow from.
        """
        if not count:
            return []
        generator = random.Random(f"{seed}\0{text}")
        order = generator.sample(self.operations, len(self.operations))
        words = text.split()
        return [
            " ".join(self._altered(words, order[turn:] + order[:turn], generator))
            for turn in (number % len(order) for number in range(count))
        ]

    def _altered(self, words: list[str], operations: list[AugmentationStep], generator: random.Random) -> list[str]:
        count = max(1, int(self.strength * len(words)))
        for operation in (one for one in operations for _ in range(_REPEATS)):
            altered = self._apply(operation, words, count, generator)
            if altered != words:
                return altered
        return words

    def _apply(self, operation: AugmentationStep, words: list[str], count: int, generator: random.Random) -> list[str]:
        if operation == "swap":
            return swap(words, count, generator)
        if operation == "delete":
            return delete(words, self.strength, generator)
        if operation == "insert":
            return insert(words, count, generator, self.synonyms)
        return replace_words(words, count, generator, self.synonyms)


def swap(words: Sequence[str], count: int, generator: random.Random) -> list[str]:
    """Exchange the words at two places, ``count`` times."""
    swapped = list(words)
    for _ in range(count if len(words) > 1 else 0):
        one, other = generator.sample(range(len(words)), 2)
        swapped[one], swapped[other] = swapped[other], swapped[one]
    return swapped


def delete(words: Sequence[str], share: float, generator: random.Random) -> list[str]:
    """Leave each word out with probability ``share``, but one at least, and never all: a single word stays."""
    if len(words) < 2:
        return list(words)
    gone = {place for place in range(len(words)) if generator.random() < share} or {generator.randrange(len(words))}
    if len(gone) == len(words):
        gone.remove(generator.randrange(len(words)))
    return [word for place, word in enumerate(words) if place not in gone]


def insert(words: Sequence[str], count: int, generator: random.Random, synonyms: Synonyms) -> list[str]:
    """Put synonyms of ``count`` of the words at random places; function words and what has no synonym are passed by."""
    inserted: dict[int, list[str]] = {}
    for _ in range(count if words else 0):
        for _ in range(_TRIES):
            known = _synonyms_of(_CORE.fullmatch(generator.choice(words)), synonyms)
            if known:
                inserted.setdefault(generator.randrange(len(words) + 1), []).append(generator.choice(known))
                break
    return [word for place in range(len(words) + 1) for word in (*inserted.get(place, ()), *words[place : place + 1])]


def replace_words(words: Sequence[str], count: int, generator: random.Random, synonyms: Synonyms) -> list[str]:
    """Put a synonym in the place of ``count`` of the words, in the same case and with the same marks around it."""
    replaced, left = list(words), count
    for place in generator.sample(range(len(words)), len(words)):
        if not left:
            break
        match = _CORE.fullmatch(words[place])
        known = _synonyms_of(match, synonyms)
        if match is not None and known:
            replaced[place] = match[1] + _in_case_of(match[2], generator.choice(known)) + match[3]
            left -= 1
    return replaced


def copy_counts(labels: NDArray[np.int64], *, copies: int, balance: bool, seed: int) -> NDArray[np.int64]:
    """How many copies each item gets.

    Args:
        labels: class of each item, [items].
        copies: copies of each item; with ``balance``, of each item of the largest class.
        balance: give every class, its items and copies together, as many as the largest has. A class's copies are
            shared out evenly among its items, and what is left over goes to some that ``seed`` picks.
        seed: seed of the run.

    Returns:
        Copies of each item, [items].
    """
    counts = np.full(len(labels), copies, dtype=np.int64)
    if not balance:
        return counts
    sizes = np.bincount(labels)
    wanted = int(sizes.max(initial=0)) * (1 + copies)
    for number in np.flatnonzero(sizes).tolist():
        members = np.flatnonzero(labels == number)
        each, over = divmod(wanted - len(members), len(members))
        counts[members] = each
        counts[np.random.default_rng([seed, number]).permutation(members)[:over]] += 1
    return counts


def _synonyms_of(match: re.Match[str] | None, synonyms: Synonyms) -> Sequence[str]:
    """Synonyms of a word in its marks; none for what is no word, or holds a sentence together."""
    if match is None or match[2].lower() in _FUNCTION_WORDS:
        return ()
    return synonyms(match[2].lower())


def _in_case_of(word: str, synonym: str) -> str:
    if word.isupper():
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym
