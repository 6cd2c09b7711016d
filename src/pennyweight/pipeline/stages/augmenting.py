"""Adds altered copies of training items to what was collected, drawn once before anything is tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pennyweight.console import Speaker
from pennyweight.data.augmentation import NEED_SYNONYMS, Augmenter, Synonyms, copy_counts, no_synonyms
from pennyweight.data.inspection import find_leaks
from pennyweight.data.wordnet import open_wordnet
from pennyweight.errors import InputError
from pennyweight.pipeline.preparation import Collected, class_counts, in_test
from pennyweight.recipe import Recipe


def add_copies(recipe: Recipe, collected: Collected, speaker: Speaker) -> Collected:
    """Put the copies that a recipe asks for behind all items, to be learnt from.

    A copy follows from the run's seed, its item's row and its item's cleaned text. One that equals a text held out for
    validation or of the test data is left away.

    Raises:
        InputError: the thesaurus that is asked for is not there.
    """
    asked, items = recipe.augmentation, collected.training
    if not (asked.copies or asked.balance):
        return collected
    seed = recipe.training.seed
    counts = copy_counts(collected.labels[items], copies=asked.copies, balance=asked.balance, seed=seed)
    augmenter, source = augmenter_of(recipe)
    texts: list[str] = []
    for item, count in zip(items.tolist(), counts.tolist(), strict=True):
        texts += augmenter.copies(collected.cleaned[item], count, seed=f"{seed}\0{collected.rows[item]}")
    origin = np.repeat(items, counts)
    held_out = find_leaks(texts, (collected.cleaned[item] for item in collected.validation))
    leaked = np.union1d(held_out, in_test(recipe, texts, collected.label_names))
    kept = np.setdiff1d(np.arange(len(texts)), leaked)
    if not len(kept):
        return collected
    same = sum(texts[index].split() == collected.cleaned[origin[index]].split() for index in kept.tolist())
    unaltered = f"; {same:,} are like their texts, in which there was nothing to alter" if same else ""
    speaker.say(f"data: {len(kept):,} altered copies of {len(items):,} training items{source}{unaltered}")
    return _with_copies(collected, [texts[index] for index in kept.tolist()], origin[kept])


def describe_copies(collected: Collected) -> dict[str, Any]:
    """Number of copies of each class for the report's data section; empty where there are none."""
    copies = collected.training[collected.origin[collected.training] != collected.training]
    if not len(copies):
        return {}
    counts = class_counts(collected.labels[copies], classes=len(collected.label_names))
    return {"altered_copies": dict(zip(collected.label_names, counts.tolist(), strict=True))}


def augmenter_of(recipe: Recipe) -> tuple[Augmenter, str]:
    """What alters texts as a recipe's augmentation says, and words for where it takes synonyms from.

    Raises:
        InputError: the thesaurus that is asked for is not there, or the backbone cannot be read.
    """
    asked = recipe.augmentation
    synonyms: Synonyms = no_synonyms
    source = ""
    if set(asked.operations) & set(NEED_SYNONYMS):
        synonyms, source = _synonyms(recipe)
    return Augmenter(asked.operations, asked.strength, synonyms), source


def _synonyms(recipe: Recipe) -> tuple[Synonyms, str]:
    if recipe.augmentation.thesaurus != "embeddings":
        try:
            return open_wordnet(), ", synonyms from WordNet"
        except InputError:
            if recipe.augmentation.thesaurus == "wordnet":
                raise
    from pennyweight.model.backbone import find_backbone
    from pennyweight.model.neighbours import open_neighbours

    files = find_backbone(recipe.backbone.name, revision=recipe.backbone.revision)
    neighbours = open_neighbours(files, add_prefix_space=recipe.text.add_prefix_space)
    return neighbours, f", synonyms from the embeddings of {recipe.backbone.name}"


def _with_copies(collected: Collected, texts: Sequence[str], origin: np.ndarray) -> Collected:
    count = len(collected.texts)
    return replace(
        collected,
        rows=np.concatenate([collected.rows, collected.rows[origin]]),
        texts=(*collected.texts, *texts),
        cleaned=(*collected.cleaned, *texts),
        labels=np.concatenate([collected.labels, collected.labels[origin]]),
        origin=np.concatenate([collected.origin, origin]),
        groups=collected.groups and (*collected.groups, *(collected.groups[item] for item in origin.tolist())),
        training=np.concatenate([collected.training, np.arange(count, count + len(texts))]),
    )
