"""What is done to a text before it is tokenised, step by step, in training and prediction alike.

Every step is a pure function of one text, takes time linear in its length, changes nothing when run twice, and
leaves plain text as it is (`lowercase` and `lemmas` excepted).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

import ftfy
import ftfy.fixes

from pennyweight.data.lemmas import lemmatise
from pennyweight.recipe import CleaningStep

_ROUNDS = 8
_MARKS = 30

# AG News lost the ampersands of its entities, each to a space: "Wall Street #39;s", "renamed  quot;Monster Park quot;".
_LOST_AMPERSAND = re.compile(
    r"(?:[ ]|^|(?<=[\t\r\n]))(?=(?:quot|amp|lt|gt|nbsp|apos|#(?:3[2-9]|[4-9][0-9]|[0-9]{3,5}|x[0-9a-fA-F]{2,5}));)"
)
_NESTED_AMPERSAND = re.compile(r"&(?:amp;|#0{0,4}38;|#[xX]0{0,4}26;)+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BLOCK_NAMES = (
    "address|article|aside|blockquote|body|br|caption|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|"
    "h[1-6]|head|header|hr|html|li|main|nav|ol|option|p|pre|section|table|tbody|td|tfoot|th|thead|title|tr|ul"
)
_INLINE_NAMES = (
    "a|abbr|acronym|area|b|base|big|button|cite|code|col|colgroup|del|dfn|em|embed|font|i|img|input|ins|kbd|label|"
    "link|map|mark|meta|nobr|object|param|q|s|samp|select|small|span|strike|strong|sub|sup|tt|u|var|wbr"
)
# A tag is a complete one of HTML's own names: "3 < 5", "I <3 you", "<unk>" and the ticker "<MSFT.O>" are text.
_TAG_BODY = rf"/?(?:{_BLOCK_NAMES}|{_INLINE_NAMES})(?:[\s/][^<>]*)?>"
_TAG = re.compile(rf"<(?={_TAG_BODY})", re.IGNORECASE)
_NO_TAG = re.compile(rf"<(?!{_TAG_BODY})", re.IGNORECASE)
_BLOCK = re.compile(_BLOCK_NAMES)
_HIDDEN = tuple(
    (re.compile(start, re.IGNORECASE), re.compile(end, re.IGNORECASE))
    for start, end in (
        (r"<!--", r"-->"),
        (r"<script[\s/>]", r"</script\s{0,9}>"),
        (r"<style[\s/>]", r"</style\s{0,9}>"),
    )
)

# A literal \n, \r or \t, but not the backslash that AG News has for a line break ("the\next year").
_WHITE = re.compile(r"(?:\s|\\[nrt](?![a-z]))+")
_ESCAPED = re.compile(r"(?<!\\)\\+(?=[\"'$&%#_])")
_SPACES = re.compile(r" {2,}")
_WORDLESS = re.compile(rf"[^\w\s\x00-\x7f]{{{_MARKS + 1},}}")

_FTFY = ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, explain=False)
_ASCII = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-") | {"\u2026": "..."}
)
_SPACE_BEFORE = re.compile(r"(?<!\s)\s+(?=[,.;:!?]+(?:\s|$))")
_REPEATED = re.compile(r"([!?,;:-])\1+")
_DOTS = re.compile(r"\.{4,}")


def clean(text: str, steps: Sequence[CleaningStep], *, language: str = "en") -> str:
    """Apply cleaning steps in the order given, then strip the white space around the text.

    Steps meet each other: `html` goes first where markup is to be recognised, `lowercase` anywhere, `newlines` after
    what leaves white space behind, `lemmas` behind what puts words right.

    Args:
        text: a raw text.
        steps: what is done to it.
        language: ISO 639 code of the language of `lemmas`.

    Raises:
        InputError: `lemmas` is among the steps, and its library or its language is not there.
    """
    for step in steps:
        text = lemmatise(text, language) if step == "lemmas" else CLEANING[step](text)
    return text.strip()


def strip_html(text: str) -> str:
    """Remove tags, comments, scripts and styles, and resolve entities, those of AG News without ampersand too.

    Markup inside escaped markup ("&lt;b&gt;") is removed as well, up to eight layers deep.
    """
    return _until_stable(_strip_html_once, text)


def _until_stable(function: Callable[[str], str], text: str) -> str:
    """Apply a function until nothing changes any more, a bounded number of times."""
    for _ in range(_ROUNDS):
        before, text = text, function(text)
        if text == before:
            break
    return text


def _strip_html_once(text: str) -> str:
    if ";" in text:
        text = _LOST_AMPERSAND.sub("&", text)
        text = _NESTED_AMPERSAND.sub("&", text)
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    if "<" not in text:
        return text
    for start, end in _HIDDEN:
        text = _without_spans(text, start, end)
    if not _TAG.search(text):
        return text
    # Everything but complete tags is escaped: a parser would take the rest of the text for an unfinished one.
    text = _NO_TAG.sub("&lt;", text.replace("&", "&amp;"))
    parser = _TextOnly()
    parser.feed(text)
    parser.close()
    return "".join(parser.kept)


class _TextOnly(HTMLParser):
    """Keeps the text, with a space where a block or a line began or ended.

    A tree of the document is not built: BeautifulSoup takes time quadratic in the depth of unclosed tags.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.kept: list[str] = []

    def handle_data(self, data: str) -> None:
        self.kept.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if _BLOCK.fullmatch(tag):
            self.kept.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if _BLOCK.fullmatch(tag):
            self.kept.append(" ")


def _without_spans(text: str, start: re.Pattern[str], end: re.Pattern[str]) -> str:
    """Replace each stretch from ``start`` to the next ``end`` by a space; a start without end stays."""
    kept: list[str] = []
    position = 0
    while (opening := start.search(text, position)) and (closing := end.search(text, opening.end())):
        kept += (text[position : opening.start()], " ")
        position = closing.end()
    return "".join(kept) + text[position:]


def join_lines(text: str) -> str:
    r"""Turn every run of white space into one space, escaped ``\n``, ``\r`` and ``\t`` included.

    An escape followed by a small letter is left alone: it cannot be told from a stray backslash before a word
    ("the\next year"), which the step `backslashes` takes care of.
    """
    return _WHITE.sub(" ", text)


def drop_backslashes(text: str) -> str:
    r"""Turn stray backslashes into spaces ("said\Tuesday"); those that escape a sign ("\$54", "\"") just go."""
    if "\\" not in text:
        return text
    return _SPACES.sub(" ", _ESCAPED.sub("", text).replace("\\", " "))


def fix_unicode(text: str) -> str:
    """Repair wrongly decoded text, odd widths, ligatures and control characters with ftfy, and normalise to NFC.

    Entities and curly quotes are left to `html` and `punctuation`. Of a pile of combining marks the first 30 stay
    (Unicode's stream-safe limit, UAX #15), since normalising takes time quadratic in their number.
    """
    return text if text.isascii() and text.isprintable() else _until_stable(_fix_unicode_once, text)


def _fix_unicode_once(text: str) -> str:
    fixed: str = ftfy.fix_text(limit_marks(text), _FTFY)
    return fixed


def limit_marks(text: str) -> str:
    """Keep at most 30 combining marks in a row, so that Unicode normalisation stays linear."""
    return text if text.isascii() else _WORDLESS.sub(lambda match: _limited(match[0]), text)


def _limited(run: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in run:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MARKS:
            kept.append(character)
    return "".join(kept)


def normalise_punctuation(text: str) -> str:
    """Write curly quotes, dashes and ellipses in ASCII, fold repeated marks, drop the space before a closing mark.

    Three dots stay three dots; a mark that begins a word (".5", ":-)") keeps the space before it.
    """
    text = ftfy.fixes.uncurl_quotes(text).translate(_ASCII)
    text = _SPACE_BEFORE.sub("", text)
    return _DOTS.sub("...", _REPEATED.sub(r"\1", text))


def lower_case(text: str) -> str:
    """Lower-case with `str.lower`: casefolding would write "ß" as "ss", spellings that no vocabulary was built on."""
    return text.lower()


CLEANING: dict[CleaningStep, Callable[[str], str]] = {
    "html": strip_html,
    "newlines": join_lines,
    "backslashes": drop_backslashes,
    "unicode": fix_unicode,
    "punctuation": normalise_punctuation,
    "lowercase": lower_case,
    "lemmas": lemmatise,
}
