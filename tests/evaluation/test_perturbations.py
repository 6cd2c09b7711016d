from __future__ import annotations

import html
import random
import re

import pytest

from pennyweight.evaluation.perturbations import PERTURBATIONS, first_half, html_remnants, typos, without_first_sentence

TEXT = 'The old "Harbour & Quay" ferry sank. Two gulls watched; nobody\'s rope held, the pilot said!'
HOSTILE = [
    "",
    " ",
    "a",
    "1 2 3",
    "\n\n",
    "<b>&amp;</b>",
    "船が沈んだ。港は静か",
    "x" * 3000,
    "é ß ﬁ ñ",
    "ab\u200bc d",
]


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("text", [TEXT, *HOSTILE])
def test_pure_in_text_and_seed(name, text):
    perturb = PERTURBATIONS[name]
    random.seed(1)
    once = perturb(text, seed=3)
    random.seed(2)
    assert perturb(text, seed=3) == once
    assert isinstance(once, str)


@pytest.mark.parametrize("name", ["typos", "html"])
def test_another_seed_or_text_draws_anew(name):
    made = {PERTURBATIONS[name](TEXT, seed=seed) for seed in range(20)}
    assert len(made) > 10
    suffixes = {PERTURBATIONS[name](f"{TEXT} {word}", seed=0).removesuffix(word) for word in ("aa", "bb", "cc", "dd")}
    assert len(suffixes) > 1


@pytest.mark.parametrize("seed", range(30))
def test_typos_touch_a_tenth_of_the_words_behind_their_first_letter(seed):
    words = [f"{word}{number}" for number, word in enumerate(["harbour", "lantern", "ferry", "at", "a"] * 8)]
    text = "  ".join(words)
    made = typos(text, random.Random(seed)).split("  ")
    assert len(made) == len(words)
    changed = [(old, new) for old, new in zip(words, made, strict=True) if old != new]
    assert len(changed) == 2  # 24 words have three letters or more; a swap of equal letters cannot happen here
    for old, new in changed:
        assert new[0] == old[0]
        assert abs(len(new) - len(old)) <= 1
        assert sum(map(str.isalpha, old)) >= 3


def test_typos_always_change_a_text_that_has_a_word():
    assert all(typos("gull", random.Random(seed)) != "gull" for seed in range(200))
    assert typos("it is 42", random.Random(0)) == "it is 42"


@pytest.mark.parametrize("seed", range(10))
def test_html_remnants_undone_are_the_text(seed):
    made = html_remnants(TEXT, random.Random(seed))
    assert "<b>" in made
    assert "<br />" in made
    assert "&quot;" in made
    bare = html.unescape(re.sub(r"<[^>]*>", "", made)).replace("\xa0", " ")
    assert bare == TEXT


def test_case():
    assert PERTURBATIONS["upper"]("Straße at 5") == "STRASSE AT 5"
    assert PERTURBATIONS["lower"]("Fog AT Sea") == "fog at sea"


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("one two three four", "one two"),
        ("one  two three", "one  two"),
        ("word", "wo"),
        ("", ""),
        ("港は静か。", "港は静"),
    ],
)
def test_first_half(text, half):
    assert first_half(text) == half


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Fog at sea. Ships wait.", "Ships wait."),
        ('"Fog!" Ships wait. Gulls too.', "Ships wait. Gulls too."),
        ("Fog at sea\nShips wait.", "Ships wait."),
        ("船が沈んだ。港は静か", "港は静か"),
        ("Only one sentence.", "Only one sentence."),
        ("Costs 3.50 today", "Costs 3.50 today"),
        ("", ""),
    ],
)
def test_without_first_sentence(text, rest):
    assert without_first_sentence(text) == rest


def test_typos_are_of_four_kinds():
    words = [f"{word}{number}" for number, word in enumerate(["harbour", "lantern", "ferry", "at", "a"] * 8)]
    kinds = set()
    for seed in range(100):
        made = typos("  ".join(words), random.Random(seed)).split("  ")
        changed = [(old, new) for old, new in zip(words, made, strict=True) if old != new]
        kinds |= {(len(new) - len(old), sorted(old) == sorted(new)) for old, new in changed}
    assert kinds == {(-1, False), (1, False), (0, True), (0, False)}
