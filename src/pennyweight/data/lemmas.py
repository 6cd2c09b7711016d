"""Words as their dictionary forms, by simplemma, which carries the dictionaries of some fifty languages."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from pennyweight.errors import InputError

LONGEST_WORD = 60
"""Letters of a word beyond which it is none and is left as it is."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_APOSTROPHE = re.compile(r"(['\u2019])")
_KEPT_WORDS = 1 << 18


def lemmatise(text: str, language: str = "en") -> str:
    """Put every word of a text into its dictionary form; all between the words stays.

    Words are runs of letters; what has a digit in it is left alone. A capital at the beginning stays one, and so does
    a word of capitals. Of a word with an apostrophe the part before 's and the part behind an elision ("l'homme") are
    looked up, and contractions ("won't") stay.

    Args:
        text: any text.
        language: ISO 639 code of a language that simplemma has a dictionary of.

    Raises:
        InputError: simplemma is not installed, or has no dictionary of the language.
    """
    dictionary_form = _dictionary(language)
    return _WORD.sub(lambda match: _lemmatised(match[0], dictionary_form), text)


def _lemmatised(word: str, dictionary_form: Callable[[str], str]) -> str:
    if word.isalpha():
        return dictionary_form(word)
    parts = _APOSTROPHE.split(word)
    if len(parts) < 3 or not all(part.isalpha() for part in parts[::2]):
        return word
    if parts[-1] in ("s", "S"):
        return "".join([*parts[:-3], dictionary_form(parts[-3]), *parts[-2:]])
    return "".join([*parts[:-1], dictionary_form(parts[-1])]) if len(parts[-1]) > 2 else word


@functools.cache
def _dictionary(language: str) -> Callable[[str], str]:
    """A function that looks one word up, keeping what it found."""
    try:
        import simplemma
    except ImportError:
        raise InputError("text.cleaning: the step lemmas needs simplemma: pip install 'pennyweight[lemmas]'") from None
    try:
        simplemma.lemmatize("a", lang=language)
    except ValueError:
        raise InputError(
            f"text.language = {language!r}: simplemma has no dictionary of it; leave lemmas out of text.cleaning"
        ) from None

    def once(word: str) -> str:
        return _in_case_of(word, simplemma.lemmatize(word, lang=language))

    @functools.lru_cache(maxsize=_KEPT_WORDS)
    def dictionary_form(word: str) -> str:
        return word if len(word) > LONGEST_WORD else _settled(once, word)

    return dictionary_form


def _settled(once: Callable[[str], str], word: str) -> str:
    """Look up what was found until it is its own form, so that a second cleaning changes nothing.

    Where dictionaries go in circles the first form in alphabetical order stands for the circle.
    """
    seen: list[str] = []
    while word not in seen:
        seen.append(word)
        word = once(word)
    return min(seen[seen.index(word) :])


def _in_case_of(word: str, found: str) -> str:
    """What was found, in the case of what was looked up; the word itself where the find is no single word."""
    if not found.isalpha():
        return word
    cased = found.upper() if len(word) > 1 and word.isupper() else found[:1].upper() + found[1:]
    fitting = cased if word[:1].isupper() else found
    return fitting if len(fitting) == len(found) else word
