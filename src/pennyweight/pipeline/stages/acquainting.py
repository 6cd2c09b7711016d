"""A first stage on texts alone: adapters learn how this kind of text goes together, before any label is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pennyweight.console import Speaker
from pennyweight.data.batches import epoch_batches
from pennyweight.data.halves import both_sides, divisible, end_to_end, first_rows, halves
from pennyweight.errors import InputError
from pennyweight.pipeline.folder import ACQUAINTED
from pennyweight.pipeline.stages.comparing import compare_texts, comparing
from pennyweight.pipeline.workbench import Workbench
from pennyweight.recipe import Objective
from pennyweight.training.feeding import Course
from pennyweight.training.fit import Fit

_TOGETHER = 64
"""Texts of a batch: the sides of each have those of 63 others to be told apart from."""


def acquaint(bench: Workbench, folder: Path, speaker: Speaker) -> None:
    """Train a workbench's adapters to find the other side of a text that was cut in two, if its recipe wants that.

    Of all texts that are learnt from, with and without labels (Giorgi et al. 2021, DeCLUTR, arXiv 2006.03659; Izacard
    et al. 2022, Contriever, arXiv 2112.09118): each is cut anew in each epoch. Of a text in several windows the first
    is cut. All networks of the run begin with the adapters that come of it, and see by them which texts are alike.

    Args:
        bench: its network's adapters are trained; the head stays as it is.
        folder: where the run keeps what it needs to be resumed.
        speaker: where progress goes.

    Raises:
        InputError: there are not two texts that can be cut; and as `compare_texts`.
        Interrupted: as `compare_texts`.
    """
    if not bench.recipe.unlabelled.contrastive_epochs:
        return
    before = {name: parameter.detach().clone() for name, parameter in bench.network.trainable().items()}
    course = compare_texts(
        bench,
        folder / ACQUAINTED,
        speaker,
        stage=_stage,
        key="unlabelled.contrastive_epochs",
        what="comparing halves of texts",
    )
    speaker.say(f"first stage: {course.items:,} texts cut in two, {course.total_steps:,} steps done")
    bench.begun = _changed(before, bench.network.trainable())


def _stage(bench: Workbench, folder: Path) -> Fit:
    settings, collected, special = bench.recipe.unlabelled, bench.collected, bench.special_ids()
    items = np.concatenate([collected.learnt, collected.unlabelled])
    first = first_rows(bench.table.take(items))
    texts = divisible(first, special=special)
    if len(texts) < 2:
        raise InputError("unlabelled.contrastive_epochs needs two texts of two words or more; set it to 0")
    brief = bench.briefly(
        items[texts], epochs=settings.contrastive_epochs, learning_rate=settings.contrastive_learning_rate
    )
    training = brief.recipe.training.model_copy(update={"batch_size": _TOGETHER, "accumulation": 1})
    # Neither labels nor what teachers said of them: the stage has an objective of its own.
    recipe = brief.recipe.model_copy(update={"training": training, "objective": Objective()})
    fit = replace(brief, recipe=recipe, extras={}).fit(folder, prunes=False)
    course, whole = fit.feeder.course, first.take(texts)
    cut = [
        halves(whole, special=special, generator=np.random.default_rng([course.seed, epoch, 3]))
        for epoch in range(course.epochs)
    ]
    return comparing(
        fit,
        temperature=settings.contrastive_temperature,
        table=end_to_end(cut),
        labels=np.tile(np.repeat(np.arange(len(texts)), 2), course.epochs),
        prefix=None,
        deal=partial(_deal, whole.lengths(), course),
    )


def _deal(lengths: np.ndarray, course: Course, epoch: int) -> list[np.ndarray]:
    """Both sides of each text in one batch, in that epoch's part of the table."""
    dealt = epoch_batches(lengths, batch_size=course.batch_size, seed=course.seed, epoch=epoch, order=course.order)
    return [both_sides(len(lengths) * epoch + texts) for texts in dealt]


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the stage has learnt; the head is not among it."""
    return {name: one.detach().clone() for name, one in after.items() if not torch.equal(one, before[name])}
