"""The techniques that `benchmarks.techniques` measures: one row each, what is switched on and against what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.technique_arms import Changes, Items

AG_LABELS = ("World", "Sports", "Business", "Sci/Tech")
NEWS = Items("news", "agnews", 5_000, AG_LABELS)
FEWER = Items("fewer", "agnews", 1_000, AG_LABELS, changes={"training": {"epochs": 6}})
SKEWED = Items("skewed", "agnews", 5_000, AG_LABELS, skew=True)
NOISY = Items(
    "noisy",
    "agnews_noisy",
    None,
    AG_LABELS,
    label="noisy_label",
    test="agnews",
    changes={"training": {"epochs": 1}},  # plain training is best after one, and learns the noise from then on
)
LONG = Items(
    "long",
    "newsgroups20",
    None,
    per_class=100,  # the file is in order of class: its first 2,000 would be of four
    judged=3_000,
    changes={"data": {"on_bad_row": "skip"}, "training": {"epochs": 4}},
)

EMOTIONS = Items("emotions", "go_emotions", 5_000, "go_emotions", label="labels", task="multi-label")


@dataclass(frozen=True)
class Technique:
    """One row."""

    name: str
    room: str
    """Heading that it stands under."""
    on: Changes
    """What it changes of the recipe."""
    off: Changes = field(default_factory=dict)
    """What it is compared with, where that is not the plain recipe."""
    items: Items = NEWS
    procedure: Any = None
    """What does more than train the recipe, (technique, items, changes, folder of data) → arm; none: nothing does."""


def rows() -> tuple[Technique, ...]:
    """Every technique that is keys of a recipe."""
    return (*_texts(), *_lengths(), *_adapters(), *_objectives(), *_precision())


def _row(room: str, name: str, on: Changes, off: Changes | None = None, items: Items = NEWS) -> Technique:
    return Technique(name, room, on, off or {}, items)


def _texts() -> list[Technique]:
    def cleaned(*steps: str) -> Changes:
        return {"text": {"cleaning": list(steps)}}

    def copies(*operations: str) -> Changes:
        return {"augmentation": {"copies": 1, "operations": list(operations)}}

    relearnt: Changes = {
        "filter": {"label_noise": "relabel", "label_noise_shares": "even", "label_noise_threshold": 0.5}
    }
    room = "Texts"
    return [
        _row(room, "HTML removed", cleaned("html")),
        _row(room, "backslashes removed", cleaned("backslashes")),
        _row(room, "Unicode repaired", cleaned("unicode")),
        _row(room, "punctuation normalised", cleaned("punctuation")),
        _row(room, "lower case", cleaned("lowercase")),
        _row(room, "lemmas", cleaned("html", "lemmas"), cleaned("html")),
        _row(room, "short texts filtered", {"filter": {"shortest": 8}}),
        _row(room, "repeats filtered", {"filter": {"repeats": "drop"}}),
        _row(room, "other languages filtered", {"filter": {"languages": ["en"]}}),
        _row(room, "label noise filtered", {"filter": {"label_noise": "drop"}}, items=NOISY),
        _row(room, "label noise relearnt, shares even", relearnt, items=NOISY),
        _row(room, "EDA, all four", copies("synonyms", "insert", "swap", "delete"), items=FEWER),
        *(_row(room, f"EDA, {one}", copies(one), items=FEWER) for one in ("synonyms", "insert", "swap", "delete")),
        _row(room, "copies that balance classes", {"augmentation": {"balance": True}}, items=SKEWED),
        _row(room, "balanced sampler", {"training": {"sampler": "balanced"}}, items=SKEWED),
        _row(room, "class weights", {"objective": {"class_weights": "balanced"}}, items=SKEWED),
        _row(room, "test-time augmentation", {"evaluation": {"augmented_copies": 4}}),
    ]


def _lengths() -> list[Technique]:
    room = "Lengths"
    short: Changes = {"text": {"max_length": 128}}

    def windows(pooling: str) -> Changes:
        return {**short, "windows": {"count": 4, "pooling": pooling}}

    return [
        _row(room, "dynamic padding", {}, {"text": {"padding": "fixed"}}),
        _row(room, "sorted by length", {}, {"text": {"order": "shuffled"}}),
        *(_row(room, f"windows, {one}", windows(one), short, items=LONG) for one in ("mean", "max", "attention")),
    ]


def _adapters() -> list[Technique]:
    room = "Adapters"
    upper, both = ["query@-3:", "value@-3:"], ["query", "value"]

    def kind(name: str, **keys: object) -> Changes:
        return {"adapters": {"kind": name, **keys}}

    even: Changes = {"adapters": {"targets": "all-linear", "rank": "fill"}, "budget": {"parameters": 75_000}}
    allotted: Changes = {
        "adapters": {"targets": "all-linear", "rank": "sensitivity"},
        "budget": {"parameters": 75_000},
    }
    return [
        _row(room, "a higher rank on top", {"adapters": {"rank_pattern": {"query@-1": 16, "value@-1": 16}}}),
        _row(room, "all six matrices", {"adapters": {"targets": "all-linear"}}),
        _row(room, "DoRA", kind("dora")),
        _row(room, "rsLoRA", {"adapters": {"scaling": "rslora", "alpha": 16.0}}, {"adapters": {"alpha": 16.0}}),
        _row(room, "PiSSA", {"adapters": {"init": "pissa"}}),
        _row(room, "EVA", {"adapters": {"init": "eva"}}),
        _row(room, "LoRA+", {"training": {"lora_plus": 8.0}}),
        _row(room, "AdaLoRA", kind("adalora", rank=12, final_rank=8)),
        _row(
            room,
            "IA³",
            {"adapters": {"kind": "ia3", "targets": ["query", "value"]}, "training": {"learning_rate": 1e-2}},
        ),
        _row(room, "prompt tuning", kind("prompt", targets=both)),
        _row(room, "LoRA and prompts", kind("lora+prompt", targets=upper)),
        _row(room, "LoRA and IA³", kind("lora+ia3", targets=upper)),
        _row(room, "ranks by sensitivity", allotted, even),
    ]


def _objectives() -> list[Technique]:
    room = "Objectives"
    dropped: Changes = {"adapters": {"dropout": 0.1}, "head": {"dropout": 0.1}}
    return [
        _row(room, "the backbone's dropout", {"backbone": {"dropout": True}}),
        _row(room, "label smoothing 0.1", {"training": {"label_smoothing": 0.1}}),
        _row(room, "focal loss", {"objective": {"loss": "focal"}}),
        _row(room, "R-Drop", {**dropped, "objective": {"r_drop": 1.0}}, dropped),
        _row(room, "contrastive first stage", {"objective": {"contrastive_epochs": 2}}, items=FEWER),
        _row(room, "a probe's head", {"head": {"start": "probe"}}, items=FEWER),
        _row(room, "generalised cross-entropy", {"objective": {"loss": "gce"}}, items=NOISY),
    ]


def _precision() -> list[Technique]:
    room = "Precision"
    return [
        _row(room, "4-bit backbone", {"backbone": {"precision": "nf4"}}),
        _row(room, "8-bit optimizer", {"training": {"optimizer": "adamw-8bit"}}),
    ]


def chosen(wanted: list[str] | None, known: Mapping[str, object]) -> list[str]:
    """Names that were asked for, or all; raises ValueError at one that is not known."""
    odd = next((name for name in wanted or () if name not in known), None)
    if odd is not None:
        raise ValueError(f"no technique is called {odd!r}; there are: {', '.join(known)}")
    return list(wanted or known)
