"""What `benchmarks.teaching` measures: one row each, what is learnt without a technique and what changes with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.items import LABELS
from benchmarks.technique_arms import Changes


@dataclass(frozen=True)
class Row:
    """One technique: what is learnt without it, and what changes with it."""

    labels: int
    """Labelled items of each class."""
    seeds: int
    base: Changes
    """Changes of the recipe, both without the technique and with it."""
    on: Changes = field(default_factory=dict)
    recipe: str = "ag-news"
    texts: int = 0
    """Texts without labels."""
    texts_for_both: bool = False
    """Whether they are there without the technique, too."""
    teacher: int = 0
    """Items of each class that the student's teacher has learnt from, none of them the student's; 0: no teacher."""
    named: tuple[tuple[str, ...], ...] = ()
    """Texts for each class that say what it is about, learnt from beside the labelled items; none: no such texts."""
    together: int = 1
    """Networks of different seeds that are averaged into one classifier, with the technique alone."""


THOUSAND: Changes = {
    "data": {"labels": list(LABELS), "validation": 0},
    "adapters": {"targets": "all-linear", "rank": 8},
    "training": {"epochs": 6, "keep": "last"},
}
"""A thousand labels are enough for all layers, and too few to hold any out."""

SMOOTHED: Changes = {**THOUSAND, "training": {**THOUSAND["training"], "label_smoothing": 0.2}}

NEAREST: Changes = {"neighbours": 20, "neighbours_by": ["meaning", "words"], "alignment": True, "strength": 0.0}
"""What the texts nearest to a text make of its label, where classes are even."""

EIGHT: Changes = {"data": {"labels": list(LABELS)}, "text": {"cleaning": ["html", "backslashes", "newlines"]}}

CLUSTERED: Changes = {
    "objective": {"contrastive_epochs": 0},
    "head": {"start": "random"},
    "unlabelled": {**NEAREST, "labeller": "mixture", "epochs": 1, "learning_rate": 1e-3},
}
"""What learns from texts without labels by the clusters that they form."""

WORDS = (
    ("World politics", "War and peace", "Governments and elections", "International news"),
    (
        "Sports",
        "Football, baseball and basketball games",
        "Athletes, teams and coaches",
        "Championships and the Olympics",
    ),
    ("Business", "Companies and markets", "Stocks and the economy", "Oil prices, profits and jobs"),
    (
        "Science and technology",
        "Computers and software",
        "The internet and mobile phones",
        "Space, research and devices",
    ),
)
"""What somebody who knows the classes' names would say that they are about, without having read an item."""

ROWS = {
    "a student of 75,000 parameters and its teacher": Row(
        labels=1250,
        seeds=3,
        base={"budget": {"parameters": 75_000}, "training": {"epochs": 3}},
        on={"teachers": {"temperature": 2.0, "mixture": 0.9}},
        teacher=3750,
    ),
    "the same student, and 20,000 texts that its teacher labels": Row(
        labels=1250,
        seeds=3,
        base={"budget": {"parameters": 75_000}, "training": {"epochs": 3}},
        on={
            "teachers": {"temperature": 2.0, "mixture": 0.9},
            "unlabelled": {"labeller": "teachers", "strength": 0.0},
        },
        teacher=3750,
        texts=20_000,
    ),
    "1,000 labels, smoothed": Row(
        labels=250,
        seeds=3,
        base=THOUSAND,
        on={"training": {"label_smoothing": 0.2}},
    ),
    "1,000 labels, smoothed, three networks together": Row(
        labels=250,
        seeds=3,
        base=THOUSAND,
        on={"training": {"label_smoothing": 0.2}},
        together=3,
    ),
    "1,000 labels and 65,000 texts": Row(
        labels=250,
        seeds=3,
        base={**SMOOTHED, "adapters": {**SMOOTHED["adapters"], "rank": 24}},  # 996,868 parameters
        on={"unlabelled": {**NEAREST, "contrastive_epochs": 1, "labellers": 3, "epochs": 3}},
        texts=70_000,  # no class has a fourth of these: all that are left
    ),
    "8 labels a class, and texts that say what it is about": Row(
        labels=8,
        seeds=10,
        recipe="few-labels",
        base=EIGHT,
        on={"objective": {"contrastive_epochs": 5}},
        named=WORDS,
    ),
    "8 labels a class and 8,000 texts": Row(
        labels=8,
        seeds=10,
        recipe="few-labels",
        base=EIGHT,
        on=CLUSTERED,
        texts=8000,
    ),
    "the same 8,000 texts, which halves belong together first": Row(
        labels=8,
        seeds=10,
        recipe="few-labels",
        base={**EIGHT, **CLUSTERED},
        on={"unlabelled": {"contrastive_epochs": 1, "contrastive_learning_rate": 1e-3}},
        texts=8000,
        texts_for_both=True,
    ),
}
