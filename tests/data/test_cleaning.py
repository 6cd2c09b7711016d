from __future__ import annotations

import random
import unicodedata
from collections import Counter
from typing import get_args

import pyarrow.parquet as pq
import pytest

from pennyweight.data.cleaning import CLEANING, clean, limit_marks
from pennyweight.recipe import CleaningStep

PLAIN = [
    "Shares rose 3.5% in early trading; analysts were surprised.",
    'He said: "Wait for it..." (and they did) - then left!',
    "3 < 5 & 6 > 2, AT&T, R&D &copy that, I <3 you",
    "Ticker <MSFT.O> and token <unk>, room #12; x",
    "A price of .5 or :-) and 12:30, e.g. co-op",
    "Zoë und Jürgen fuhren nach Łódź. Это новости. 東京のニュース",
    "",
]
PIECES = [
    *"<>&;#!?.,-:\\/\"' \t\r\nabnrtN09",
    *"\u00a0\u2028\u0301\u0316\u2019\u201c\u2014\u2026\u00e9\u00c3\u00a9\ufb01\uff21\u3000\ud83d\ude00\0\x1b\x85😀ßİΣ中",
    "<b>", "</b>", "<p>", "<br/>", "</A>", '<a href="x>y">', "<!--", "-->", "<script>", "</script>", "<title>",
    "&lt;", "&gt;", "&amp;", "amp;", " quot;", " #39;", "&#60;", "&#38;", "&#0;", "&nbsp;", "\\n", "\\$", "\\\\",
    "â€™", "Ã©", "said", "World", "...", "--", " !", "lt;b gt;",
]  # fmt: skip


def generated(seed: int, pieces: int) -> str:
    chooser = random.Random(seed)
    return "".join(chooser.choices(PIECES, k=chooser.randint(1, pieces)))


def test_every_step_of_the_recipe_has_a_function():
    assert tuple(CLEANING) == get_args(CleaningStep)


@pytest.mark.parametrize("step", CLEANING)
def test_steps_are_idempotent_and_never_raise(step):
    for seed in range(3000):
        once = CLEANING[step](generated(seed, 30))
        assert CLEANING[step](once) == once, (seed, once)


@pytest.mark.parametrize("step", [step for step in CLEANING if step not in ("lowercase", "lemmas")])
@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays_as_it_is(step, text):
    assert CLEANING[step](text) == text


@pytest.mark.parametrize("step", CLEANING)
@pytest.mark.parametrize(
    "unit", ["<b>", "</b>", "<a ", "<!--", "<script>", "&lt;b&gt;", "&amp;", "&", "\\", " ", "!", "e\u0301\u0316"]
)
def test_a_megabyte_of_anything_passes(step, unit):
    text = unit * (1_000_000 // len(unit)) + "end"
    assert "end" in CLEANING[step](text).lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>One <b>bo</b>ld</p><p>two</p>", " One bold  two "),
        ("one<br>two<BR/>three", "one two three"),
        ('<A HREF="http://example.org/?a=1&b=2">IBM.N</A>', "IBM.N"),
        ("&lt;b&gt;Review&lt;/b&gt; text", "Review text"),
        ("&amp;lt;b&amp;gt;deep&amp;lt;/b&amp;gt;", "deep"),
        ("Wall Street #39;s  quot;bulls quot; at M amp;amp;T", 'Wall Street\'s "bulls" at M&T'),
        ("a  #36;4.2 billion deal", "a $4.2 billion deal"),
        ("#39;Tis", "'Tis"),
        ("caf&eacute; &#233; &#xE9;", "café é é"),
        ("a <!-- hidden <b>x</b> --> z", "a   z"),
        ("a<script type=x>if (1 < 2) {}</script>z", "a z"),
        ("<style>b { color: red }</style>z", " z"),
        ("unclosed <script> stays", "unclosed <script> stays"),
        ("unclosed <!-- stays", "unclosed <!-- stays"),
        ("unclosed <a href= stays", "unclosed <a href= stays"),
        ('<img alt="a > b">x', "x"),
        ("<title>t", " t"),
        ("x <s> y </s>", "x  y "),
    ],
)
def test_html(text, expected):
    assert CLEANING["html"](text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\n\r\n\tb\u00a0 c", "a b c"),
        (r"One.\nTwo.\r\nThree\tFour", "One. Two. Three Four"),
        (r"in the\next year", r"in the\next year"),
        ("a\u2028b\x85c", "a b c"),
    ],
)
def test_newlines(text, expected):
    assert CLEANING["newlines"](text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"said\Tuesday", "said Tuesday"),
        (r"the\next year", "the next year"),
        (r"the \$54 level", "the $54 level"),
        (r"he said \"yes\"", 'he said "yes"'),
        (r"Brown  \&amp; Root", "Brown &amp; Root"),
        ("a \\\\ b\\", "a b "),
        ("two  spaces", "two  spaces"),
    ],
)
def test_backslashes(text, expected):
    assert CLEANING["backslashes"](text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schÃ¶n", "schön"),
        ("cafe\u0301", "caf\u00e9"),
        ("\ufb01ne \uff21\uff22\uff23", "fine ABC"),
        ("\x1b[31mred\x1b[0m\0", "red"),
        ("it\u2019s &amp; stays", "it\u2019s &amp; stays"),
    ],
)
def test_unicode(text, expected):
    assert CLEANING["unicode"](text) == expected


def test_unicode_is_normalised_to_nfc():
    for seed in range(300):
        assert unicodedata.is_normalized("NFC", CLEANING["unicode"](generated(seed, 40)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u201cIt\u2019s\u201d \u2013 he \u2014 said\u2026", '"It\'s" - he - said...'),
        ("What?!! No!!! Why??", "What?! No! Why?"),
        ("wait......", "wait..."),
        ("NEW YORK -- Oil", "NEW YORK - Oil"),
        ("A word . And another , yes !", "A word. And another, yes!"),
        ("a . . . b", "a... b"),
        ("x ! ! y", "x! y"),
        ("about .5 at 3 :30", "about .5 at 3 :30"),
    ],
)
def test_punctuation(text, expected):
    assert CLEANING["punctuation"](text) == expected


def test_lowercase_keeps_letters_that_casefolding_would_change():
    assert CLEANING["lowercase"]("Die STRASSE, die Straße") == "die strasse, die straße"


def test_steps_run_in_the_order_given_and_white_space_goes():
    assert clean("  <b>A</b>\n", ()) == "<b>A</b>"
    assert clean(" <p>A\nB</p>", ("html", "newlines", "lowercase")) == "a b"
    assert clean("&lt;P&gt;x", ("lowercase", "html")) == clean("&lt;P&gt;x", ("html", "lowercase")) == "x"
    assert clean("a\\  !", ("backslashes", "punctuation")) == "a!"
    assert clean("a \\!", ("punctuation", "backslashes")) == "a !"
    assert clean("The MICE ran", ("lowercase", "lemmas")) == "the mouse run"
    assert clean("Die Häuser standen", ("lemmas",), language="de") == "Der Haus stehen"


def test_piles_of_combining_marks_are_cut_to_thirty():
    assert limit_marks("a" + "\u0301" * 31 + "b") == "a" + "\u0301" * 30 + "b"
    assert limit_marks("a" + "\u0301" * 30 + "b") == "a" + "\u0301" * 30 + "b"
    assert limit_marks("😀" * 100) == "😀" * 100


def _letters(text: str) -> Counter[str]:
    """Letters and digits, compatible forms of one character counted as one.

    Those of Latin-1's upper half are left out: "â" and its like stand in wrongly decoded text, which is repaired.
    """
    folded = unicodedata.normalize("NFKC", text)
    return Counter(one for one in folded if unicodedata.category(one)[0] in "LN" and not "\x80" <= one <= "\xff")


def test_no_script_loses_a_letter(real_data):
    """Of 26 languages in twelve scripts, and of Chinese headlines."""
    steps = ("html", "newlines", "backslashes", "unicode", "punctuation")
    rows = pq.read_table(real_data / "sib200" / "test.parquet").to_pylist()[::9]
    rows += pq.read_table(real_data / "toutiao_zh" / "test.parquet").to_pylist()[::5]
    assert len({row.get("lang") for row in rows}) == 27
    for row in rows:
        assert _letters(clean(row["text"], steps)) == _letters(row["text"]), row.get("lang")
