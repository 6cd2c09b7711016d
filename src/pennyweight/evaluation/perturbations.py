"""Texts as the world spoils them: each a pure function of the text, and of a seed where something is drawn."""

from __future__ import annotations

import hashlib
import html
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'”’)\]]*\s+|[\u3002\uff01\uff1f]+\s*|\n+")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

Perturb = Callable[[str, random.Random], str]


@dataclass(frozen=True)
class Perturbation:
    """One way to spoil a text."""

    name: str
    meaning: str
    """What it does, as a phrase."""
    function: Perturb

    def __call__(self, text: str, *, seed: int = 0) -> str:
        """The spoilt text; the same text and seed give the same, wherever in the data it stands."""
        key = f"{seed}\0{self.name}\0".encode() + text.encode("utf-8", "surrogatepass")
        return self.function(text, random.Random(hashlib.blake2b(key, digest_size=16).digest()))


def typos(text: str, generator: random.Random, share: float = 0.1) -> str:
    """Slips of the finger in a share of the words of three letters and more, in one of them at least.

    Each such word has two neighbouring letters swapped, a letter left out, doubled, or replaced by its neighbour on a
    keyboard; its first letter stays.
    """
    words = [found for found in _WORD.finditer(text) if sum(map(str.isalpha, found[0])) >= 3]
    if not words:
        return text
    count = max(1, round(share * len(words)))
    changed = {found.start(): found for found in generator.sample(words, count)}
    pieces, done = [], 0
    for start in sorted(changed):
        found = changed[start]
        pieces += [text[done:start], _slip(found[0], generator)]
        done = found.end()
    return "".join([*pieces, text[done:]])


def _slip(word: str, generator: random.Random) -> str:
    """One slip in a word that has three letters at least, behind its first letter."""
    letters = [place for place, letter in enumerate(word) if letter.isalpha()][1:]
    place = generator.choice(letters)
    head, letter, tail = word[:place], word[place], word[place + 1 :]
    kind = generator.choice(("swap", "leave out", "double", "neighbour"))
    if kind == "swap" and tail[:1].isalpha() and tail[0] != letter:
        return f"{head}{tail[0]}{letter}{tail[1:]}"
    if kind == "neighbour" and (near := _near(letter)):
        return f"{head}{generator.choice(near)}{tail}"
    if kind == "leave out":
        return head + tail
    return f"{head}{letter}{letter}{tail}"


def _near(letter: str) -> str:
    """Letters beside one on a QWERTY keyboard, in its case; none for letters that it has not."""
    for row in _KEYBOARD:
        place = row.find(letter.lower())
        if place >= 0:
            beside = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            return beside.upper() if letter.isupper() else beside
    return ""


def html_remnants(text: str, generator: random.Random) -> str:
    """What a careless scraper leaves: quotes and ampersands as entities, a word in bold, a line break, a hard space."""
    words = [html.escape(word) for word in text.split(" ")]
    place = generator.randrange(len(words))
    words[place] = f"<b>{words[place]}</b>"
    place = generator.randrange(len(words))
    words[place] = f"{words[place]}<br />"
    if len(words) > 1:
        place = generator.randrange(len(words) - 1)
        words[place : place + 2] = ["&nbsp;".join(words[place : place + 2])]
    return " ".join(words)


def first_half(text: str) -> str:
    """The first half of the words, the middle one included; of a text without spaces the first half of its letters."""
    words = list(_WORD.finditer(text))
    if len(words) < 2:
        return text[: (len(text) + 1) // 2]
    return text[: words[(len(words) + 1) // 2 - 1].end()]


def without_first_sentence(text: str) -> str:
    """The text behind its first sentence; a text of one sentence stays as it is."""
    found = _SENTENCE_END.search(text.lstrip())
    rest = text.lstrip()[found.end() :].strip() if found else ""
    return rest or text


def _ignoring(function: Callable[[str], str]) -> Perturb:
    def perturb(text: str, _generator: random.Random) -> str:
        return function(text)

    return perturb


NO_TITLE = "no-title"
"""Where texts are joined of several columns this leaves out the first, which needs the row, not the text alone."""

PERTURBATIONS: dict[str, Perturbation] = {
    one.name: one
    for one in (
        Perturbation("typos", "slips of the finger in a tenth of the words", typos),
        Perturbation("upper", "UPPER CASE throughout", _ignoring(str.upper)),
        Perturbation("lower", "lower case throughout", _ignoring(str.lower)),
        Perturbation("html", "remnants of HTML: entities, a tag, a line break", html_remnants),
        Perturbation("first-half", "only the first half of the words", _ignoring(first_half)),
        Perturbation(
            NO_TITLE, "without its first text column, or its first sentence", _ignoring(without_first_sentence)
        ),
    )
}
"""By name, in the order in which they are reported."""
