"""From a recipe's data section to items: loaded, cleaned, freed of leaks, split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from pennyweight.data.cleaning import clean
from pennyweight.data.examples import Example, Loaded, Schema, load_examples, stream_examples
from pennyweight.data.filtering import Dropped
from pennyweight.data.inspection import find_leaks, first_occurrences, split_several, split_validation
from pennyweight.data.label_sets import membership
from pennyweight.data.mapping import mapped_rows, require_known
from pennyweight.data.sources import Split, stream_rows
from pennyweight.errors import InputError
from pennyweight.manifest import Card
from pennyweight.recipe import Data, Recipe


@dataclass(frozen=True)
class Collected:
    """All items of the training source, and what each is used for."""

    label_names: tuple[str, ...]
    rows: np.ndarray
    """Row of each item in its source, from 1, int64 [items]."""
    texts: tuple[str, ...]
    """Raw texts."""
    cleaned: tuple[str, ...]
    """The texts after the recipe's cleaning steps."""
    labels: np.ndarray
    """Class numbers, int64 [items], -1 for a text without a label; or of several labels which ones apply, bool [items,
    classes]."""
    training: np.ndarray
    """Indices of the items to learn from, ascending."""
    validation: np.ndarray
    """Indices of the items held out."""
    leaked: np.ndarray
    """Indices of the items dropped because their text occurs in the validation or test data."""
    skipped: tuple[int, ...]
    """Rows that had no usable text or label."""
    labelled: int
    """Number of items of the training source. They stand first; what was gathered or made besides stands behind."""
    origin: np.ndarray
    """For each item the one it was made from: itself, or of an altered copy its text, int64 [items].

    A copy of a labelled item has its row and its label."""
    unlabelled: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Indices of the texts without labels."""
    views: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Index of what is learnt from each of them, once it is labelled: an altered copy, or the text itself."""
    dropped: tuple[Dropped, ...] = ()
    """Items that were taken out of `training`, by reason."""
    groups: tuple[str, ...] | None = None
    """The group of each item, where the recipe names a column for it."""
    group_column: str | None = None
    """That column."""

    @property
    def learnt(self) -> np.ndarray:
        """Indices of the training source's own items to learn from: `training` without what stands behind them."""
        return self.training[self.training < self.labelled]

    def without(self, dropped: Dropped) -> Self:
        """The same with some items taken out of training, their copies with them, and listed with their reason.

        Raises:
            InputError: no item of a class would be left.
        """
        training = self.training[~np.isin(self.origin[self.training], dropped.items)]
        self._require_classes(self.labels[training], dropped.reason)
        return replace(self, training=training, dropped=(*self.dropped, dropped))

    def relabelled(self, labels: np.ndarray, listed: Dropped) -> Self:
        """The same with other labels of its items, [items], copies with them; what is altered is listed.

        Raises:
            InputError: no item of a class would be left.
        """
        labels = labels[self.origin]
        self._require_classes(labels[self.training], listed.reason)
        return replace(self, labels=labels, dropped=(*self.dropped, listed))

    def _require_classes(self, labels: np.ndarray, reason: str) -> None:
        """Raises InputError where a class that is trained on now would have no item left."""
        before, after = (
            class_counts(one, classes=len(self.label_names)) for one in (self.labels[self.training], labels)
        )
        gone = np.flatnonzero((before > 0) & (after == 0))
        if len(gone):
            raise InputError(
                f"filter: class {self.label_names[int(gone[0])]} has no item left to train on, the last ones are "
                f"{reason}; filter less, or give more items of it"
            )

    def label_of(self, item: int) -> str:
        """Name of an item's label; of several, of each that applies, with a bar between them."""
        found = self.labels[item]
        numbers = np.flatnonzero(found) if np.ndim(found) else [found]
        return "|".join(self.label_names[number] for number in numbers)

    @property
    def digest(self) -> str:
        """SHA-256 of all that training sees of the data: label names, cleaned texts, labels and the split."""
        digest = hashlib.sha256("\0".join(self.label_names).encode("utf-8", "surrogatepass"))
        for text in self.cleaned:
            digest.update(text.encode("utf-8") + b"\0")
        for numbers in (self.labels, self.training, self.validation):
            digest.update(numbers.astype(np.int64).tobytes())
        return digest.hexdigest()

    def examples(self, indices: np.ndarray) -> Iterator[Example]:
        """Some of the items as a stream of examples."""
        several = self.labels.ndim == 2
        for index in indices.tolist():
            label = self.labels[index]
            known = tuple(np.flatnonzero(label).tolist()) if several else int(label)
            values = {} if self.groups is None else {str(self.group_column): self.groups[index]}
            yield Example(int(self.rows[index]), self.texts[index], known, values)


def collect(recipe: Recipe) -> Collected:
    """Load a recipe's training source, set aside what also occurs in its test data, and hold out a validation split.

    Raises:
        InputError: anything wrong with the source, its columns, rows or labels, or too few items for the split.
        RunError: the Hub cannot be reached.
    """
    data = recipe.data
    loaded = load_examples(
        data.source, schema_of(data), split="train", limit=data.limit, limit_per_class=data.limit_per_class
    )
    labels = _label_array(loaded, several=data.task == "multi-label")
    texts = tuple(loaded.dataset["text"][:])
    cleaned = tuple(cleaned_by(recipe, text) for text in texts)
    leaked = in_test(recipe, cleaned, loaded.labels)
    usable = np.setdiff1d(np.arange(len(texts)), leaked)
    if not len(usable):
        raise InputError(f"{data.source}: every item also occurs in the test data {data.test}; give other test data")
    training, validation = _split(recipe, usable, cleaned, labels, loaded.labels)
    _require_every_class(data.source, labels[usable], labels[training], loaded.labels)
    return Collected(
        label_names=loaded.labels,
        rows=np.asarray(loaded.dataset["row"][:], dtype=np.int64),
        texts=texts,
        cleaned=cleaned,
        labels=labels,
        training=training,
        validation=validation,
        leaked=np.setdiff1d(np.arange(len(texts)), np.union1d(training, validation)),
        skipped=loaded.skipped,
        labelled=len(texts),
        origin=np.arange(len(texts)),
        groups=None if data.groups is None else tuple(loaded.dataset["group"][:]),
        group_column=data.groups,
    )


def _label_array(loaded: Loaded, *, several: bool) -> np.ndarray:
    """The labels as `Collected` keeps them."""
    column = loaded.dataset["label"][:]
    return membership(column, len(loaded.labels)) if several else np.asarray(column, dtype=np.int64)


def _split(
    recipe: Recipe, usable: np.ndarray, cleaned: tuple[str, ...], labels: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation indices that share no text.

    Distinct texts are dealt out; a repeat stays with training if its text does, and is left out if it is held out.
    """
    distinct = usable[first_occurrences(cleaned[i] for i in usable)]
    fraction, seed = recipe.data.validation, recipe.training.seed
    if labels.ndim == 2:
        parts = split_several(labels[distinct], fraction=fraction, seed=seed)
    else:
        parts = split_validation(labels[distinct], names, fraction=fraction, seed=seed)
    training, validation = (distinct[part] for part in parts)
    repeats = np.setdiff1d(usable, distinct)
    held_out = repeats[find_leaks((cleaned[i] for i in repeats), (cleaned[i] for i in validation))]
    return np.union1d(training, np.setdiff1d(repeats, held_out)), validation


def _require_every_class(source: str, present: np.ndarray, training: np.ndarray, names: tuple[str, ...]) -> None:
    if present.ndim == 2:
        missing = np.flatnonzero(present.any(axis=0) & ~training.any(axis=0))
    else:
        missing = np.setdiff1d(present, training)
    if len(missing):
        raise InputError(
            f"{source}: class {names[int(missing[0])]} has no item left to train on, since its texts also occur "
            f"elsewhere (repeated, or in the validation or test data); give more items of it"
        )


def schema_of(data: Data, *, labels: tuple[str, ...] | None = None) -> Schema:
    """The columns and labels to read by; ``labels`` overrides the recipe's own, which may be ``auto``."""
    names = labels if labels is not None else (None if data.labels == "auto" else data.labels)
    return Schema(
        text=data.text,
        label=data.label,
        labels=names,
        first_label=data.first_counted,
        on_bad_row=data.on_bad_row,
        several=data.task == "multi-label",
        separator=data.label_separator,
        groups=data.groups,
    )


def stream_source(
    source: str,
    schema: Schema,
    *,
    split: Split = "test",
    skipped: list[int] | None = None,
    unmapped: Counter[str] | None = None,
) -> Iterator[Example]:
    """The examples of any source, one by one.

    Rows that are passed over are noted in ``skipped``; those that a label mapping leaves out are counted in
    ``unmapped``, by their label.

    Raises:
        InputError: at the first row that cannot be used and may not be skipped; a mapping to a label that is none of
            the schema's, or one that leaves out every row.
    """
    rows = stream_rows(source, split=split)
    if schema.mapping is not None and schema.label is not None:
        require_known(schema.mapping, schema.labels or ())
        counted, separator = Counter() if unmapped is None else unmapped, schema.separator if schema.several else None
        rows = mapped_rows(rows, schema.label, schema.mapping, counted, separator=separator)
    return stream_examples(rows, schema, skipped=skipped, source=source)


def class_counts(labels: np.ndarray, *, classes: int) -> np.ndarray:
    """Items of each class, [classes]; of several labels, items that each applies to."""
    return labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels[labels >= 0], minlength=classes)


def cleaned_by(recipe: Recipe, text: str) -> str:
    """A text after a recipe's cleaning steps; raises as `clean` does."""
    return clean(text, recipe.text.cleaning, language=recipe.text.language)


def in_test(recipe: Recipe, cleaned: Sequence[str], labels: tuple[str, ...]) -> np.ndarray:
    """Indices of the cleaned texts that occur in the recipe's test data; raises as `stream_source` does."""
    if recipe.data.test is None:
        return np.zeros(0, dtype=np.int64)
    examples = stream_source(recipe.data.test, schema_of(recipe.data, labels=labels))
    return find_leaks(cleaned, (cleaned_by(recipe, example.text) for example in examples))


def schema_of_card(
    manifest: Card,
    *,
    text: tuple[str, ...] | None = None,
    label: str | None = None,
    on_bad_row: Literal["stop", "skip"] = "stop",
    mapping: Mapping[str, str] | None = None,
    groups: str | None = None,
) -> Schema:
    """The columns and labels that a classifier was trained with, or others for other data; ``groups`` is one, too."""
    record = manifest.text
    return Schema(
        text=text or record.columns,
        label=label or record.label_column,
        labels=manifest.labels,
        first_label=record.first_label,
        on_bad_row=on_bad_row,
        mapping=mapping,
        several=manifest.problem == "multi-label",
        separator=record.label_separator,
        groups=groups,
    )
