"""Passes over the training items that a recipe's filter does not want, and keeps a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pennyweight.console import Speaker
from pennyweight.data.filtering import Dropped, counts_by_reason, find_unwanted, write_dropped
from pennyweight.pipeline.preparation import Collected
from pennyweight.recipe import Recipe
from pennyweight.recipe.inputs import Filter

FILTERED = "filtered.parquet"


def filter_items(recipe: Recipe, collected: Collected) -> Collected:
    """Take the training items out that the recipe's filter names; validation and test items are left alone.

    Raises:
        InputError: no item of a class is left, or languages cannot be told apart.
    """
    items = collected.training
    found = find_unwanted([collected.cleaned[item] for item in items], **asked_of(recipe.filter))
    for one in found:
        collected = collected.without(Dropped(items[one.items], one.reason, found=one.found, confidence=one.confidence))
    return collected


def asked_of(wanted: Filter) -> dict[str, Any]:
    """A recipe's filter as the arguments of `find_unwanted`."""
    plain = wanted.model_dump(include={"shortest", "longest", "languages", "certainty"})
    return {**plain, "drop_repeats": wanted.repeats == "drop"}


def say_dropped(collected: Collected, speaker: Speaker) -> None:
    """One line that says how many items were dropped and why, where there are any."""
    counts = counts_by_reason(collected.dropped)
    if counts:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        speaker.say(
            f"data: {sum(counts.values()):,} training items filtered out: {reasons}; report/{FILTERED} lists them"
        )


def record_dropped(collected: Collected, report: Path) -> dict[str, Any]:
    """Write ``report``/filtered.parquet where items were dropped; returns the counts for the report's data section.

    Raises:
        RunError: the file cannot be written.
    """
    if not collected.dropped:
        return {}
    labels = [collected.label_of(item) for item in range(collected.labelled)]
    write_dropped(report / FILTERED, collected.dropped, rows=collected.rows, labels=labels)
    return {"filtered_out": counts_by_reason(collected.dropped)}
