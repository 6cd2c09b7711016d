"""What a run begins with: its labelled items, and behind them texts without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from pennyweight.console import Speaker
from pennyweight.data.examples import Example, Schema
from pennyweight.data.filtering import find_unwanted
from pennyweight.data.inspection import find_leaks, first_occurrences
from pennyweight.errors import InputError
from pennyweight.pipeline.preparation import Collected, cleaned_by, collect, in_test, stream_source
from pennyweight.pipeline.stages.augmenting import add_copies, augmenter_of
from pennyweight.pipeline.stages.filtering import asked_of, filter_items
from pennyweight.recipe import Recipe


@dataclass(frozen=True)
class Gathered:
    """How many texts without labels there are, and what became of the others."""

    texts: int
    """Texts that can be learnt from."""
    known: int
    """Texts left out because they are among the labelled items."""
    leaked: int
    """Texts left out because they occur in the test data."""
    filtered: int
    """Texts left out because the recipe's filter does not want them."""
    repeated: int
    """Texts left out because they occurred before."""
    skipped: int
    """Rows passed over because they held no usable text."""

    def line(self) -> str:
        """The same in words."""
        left_out = {
            "also among the labelled items": self.known,
            "in the test data": self.leaked,
            "filtered out": self.filtered,
            "repeated": self.repeated,
            "without a usable text": self.skipped,
        }
        said = ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
        return f"{self.texts:,} texts without labels" + (f"; left out: {said}" if said else "")


def collect_all(recipe: Recipe, speaker: Speaker) -> tuple[Collected, Gathered | None]:
    """All items that a run begins with, and that ranks are found from: filtered, with texts without labels and copies.

    Returns:
        The items, and what was found of texts without labels; none where the recipe names none.

    Raises:
        InputError: as `collect`, `filter_items`, `gather` and `add_copies` do.
        RunError: the Hub cannot be reached.
    """
    collected, gathered = gather(recipe, filter_items(recipe, collect(recipe)))
    return add_copies(recipe, collected, speaker), gathered


def gather(recipe: Recipe, collected: Collected) -> tuple[Collected, Gathered | None]:
    """Add a recipe's texts without labels, and an altered copy of each where that is wanted, behind the labelled items.

    Texts that are among the labelled items or in the test data are left out, and those that the recipe's filter does
    not want.

    Returns:
        All items, and what was found; the items as they were and none where the recipe names no such texts.

    Raises:
        InputError: the source cannot be read, has a row without text, or has no text that is not known already and
            that the filter wants; languages cannot be told apart; the thesaurus that altering takes is not there.
        RunError: the Hub cannot be reached.
    """
    chosen = recipe.unlabelled
    if chosen.source is None:
        return collected, None
    skipped: list[int] = []
    schema = Schema(text=recipe.data.text, label=None, on_bad_row=recipe.data.on_bad_row)
    examples = list(islice(stream_source(chosen.source, schema, split="train", skipped=skipped), chosen.limit))
    cleaned = [cleaned_by(recipe, example.text) for example in examples]
    distinct = first_occurrences(cleaned)
    known = find_leaks(cleaned, collected.cleaned)
    leaked = np.setdiff1d(in_test(recipe, cleaned, collected.label_names), known)
    new = np.setdiff1d(distinct, np.union1d(known, leaked))
    if not len(new):
        there = [where for where, found in (("labelled", known), ("test", leaked)) if len(found)]
        raise InputError(
            f"unlabelled.source: {chosen.source} holds no text that is not in the {' or '.join(there)} data already"
        )
    unwanted = find_unwanted([cleaned[i] for i in new.tolist()], **asked_of(recipe.filter))
    kept = np.delete(new, np.concatenate([np.array([], dtype=np.int64), *(one.items for one in unwanted)])).tolist()
    if not kept:
        raise InputError(f"filter: no text of unlabelled.source is left ({unwanted[0].reason}); filter less")
    repeated = len(cleaned) - len(new) - len(known) - len(leaked)
    found = Gathered(len(kept), len(known), len(leaked), len(new) - len(kept), repeated, len(skipped))
    return _extended(recipe, collected, [examples[i] for i in kept], [cleaned[i] for i in kept]), found


def _extended(recipe: Recipe, collected: Collected, examples: Sequence[Example], cleaned: Sequence[str]) -> Collected:
    """The items with the texts behind them, and behind those a copy of each, unless the texts themselves are learnt."""
    first, count, copies = len(collected.texts), len(examples), _copies(recipe, examples, cleaned)
    times = 2 if copies else 1
    texts, rows = [example.text for example in examples], [example.row for example in examples]
    unlabelled = np.arange(first, first + count)
    return replace(
        collected,
        texts=(*collected.texts, *texts * times),
        cleaned=(*collected.cleaned, *cleaned, *copies),
        rows=np.concatenate([collected.rows, np.array(rows * times, dtype=np.int64)]),
        labels=np.concatenate([collected.labels, np.full(count * times, -1, dtype=np.int64)]),
        groups=collected.groups and (*collected.groups, *("",) * (count * times)),
        origin=np.concatenate([collected.origin, np.tile(unlabelled, times)]),
        unlabelled=unlabelled,
        views=unlabelled + count if copies else unlabelled,
    )


def _copies(recipe: Recipe, examples: Sequence[Example], cleaned: Sequence[str]) -> list[str]:
    """An altered copy of each text, as `add_copies` draws those of labelled items; none where nothing is altered."""
    chosen = recipe.unlabelled
    if not chosen.strength:
        return []
    asked = {"operations": chosen.operations, "strength": chosen.strength}
    augmentation = recipe.augmentation.model_copy(update=asked)
    augmenter, _ = augmenter_of(recipe.model_copy(update={"augmentation": augmentation}))
    return [
        augmenter.copies(text, 1, seed=f"{recipe.training.seed}\0{example.row}")[0]
        for example, text in zip(examples, cleaned, strict=True)
    ]
