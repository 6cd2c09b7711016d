"""The worst mistakes: the most confident ones, however many there are."""

from __future__ import annotations

import random

from pennyweight.evaluation.mistakes import Mistake, WorstMistakes


def test_worst_mistakes_keeps_the_most_confident():
    generator = random.Random(0)
    offers = [
        {
            "row": row,
            "text": f"text {row}",
            "label": "a",
            "predicted": generator.choice("ab"),
            "confidence": generator.randrange(50) / 50,
        }
        for row in range(500)
    ]
    worst = WorstMistakes(capacity=20)
    for one in offers:
        worst.offer(**one)
    wrong = [Mistake(**one) for one in offers if one["predicted"] != "a"]
    assert worst.ranked() == sorted(wrong, key=lambda one: (-one.confidence, one.row))[:20]


def test_worst_mistakes_do_not_depend_on_the_order():
    offers = [{"row": row, "text": "", "label": "a", "predicted": "b", "confidence": row % 5 / 5} for row in range(60)]
    forwards, backwards = WorstMistakes(7), WorstMistakes(7)
    for one, other in zip(offers, reversed(offers), strict=True):
        forwards.offer(**one)
        backwards.offer(**other)
    assert forwards.ranked() == backwards.ranked()


def test_worst_mistakes_cut_long_texts_and_keep_none_where_none_fit():
    worst, none = WorstMistakes(1), WorstMistakes(0)
    for one in (worst, none):
        one.offer(row=1, text="z" * 1_000_000, label="a", predicted="b", confidence=0.5)
    assert [len(one.text) for one in worst.ranked()] == [402]
    assert none.ranked() == []
