"""A first stage on texts alone: adapters learn how this kind of text goes together, before any label is looked at."""

from __future__ import annotations

import sys
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
from pennyweight.pipeline.stages.contrasting import showing
from pennyweight.pipeline.workbench import Workbench
from pennyweight.recipe import Objective
from pennyweight.training.contrastive import contrastive
from pennyweight.training.feeding import Course
from pennyweight.training.fit import Fit

_TOGETHER = 64
"""Texts of a batch: the sides of each have those of 63 others to be told apart from."""


def acquaint(bench: Workbench, folder: Path, speaker: Speaker) -> None:
    """Train a workbench's adapters to find the other side of a text that was cut in two, if its recipe wants that.

    Of all texts that are learnt from, with and without labels (Giorgi et al. 2021, DeCLUTR, arXiv 2006.03659; Izacard
    et al. 2022, Contriever, arXiv 2112.09118): each is cut anew in each epoch. Of a text in several windows the first
    is cut. All networks of the run begin with the adapters that come of it, and see by them which texts are alike.

    The stage keeps its own checkpoint beside the run's, its last one with the end state, so that a resumed run goes on
    with it or starts from its end.

    Args:
        bench: its network's adapters are trained; the head stays as it is.
        folder: where the run keeps what it needs to be resumed.
        speaker: where progress goes.

    Raises:
        InputError: there are several processes, each of which would see its own share of a batch alone; or there are
            not two texts that can be cut.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
    """
    if not bench.recipe.unlabelled.contrastive_epochs:
        return
    if bench.accelerator.num_processes > 1:
        raise InputError(
            "unlabelled.contrastive_epochs compares all texts of a batch, so it runs in one process; start one, or set "
            "unlabelled.contrastive_epochs=0"
        )
    before = {name: parameter.detach().clone() for name, parameter in bench.network.trainable().items()}
    (folder / ACQUAINTED).mkdir(parents=True, exist_ok=True)
    stage = _stage(bench, folder / ACQUAINTED)
    with speaker.bar("comparing halves of texts", stage.feeder.course.total_steps) as bar:
        stage.run(showing(bar))
    course = stage.feeder.course
    speaker.say(f"first stage: {course.items:,} texts cut in two, {course.total_steps:,} steps done")
    bench.begun = _changed(before, bench.network.trainable())


def _stage(bench: Workbench, folder: Path) -> Fit:
    settings, collected = bench.recipe.unlabelled, bench.collected
    tokenizer = bench.tokenizer
    special = [one for one in tokenizer.all_special_ids if one != tokenizer.unk_token_id]
    items = np.concatenate([collected.learnt, collected.unlabelled])
    first = first_rows(bench.table.take(items))
    texts = divisible(first, special=special)
    if len(texts) < 2:
        raise InputError("unlabelled.contrastive_epochs needs two texts of two words or more; set it to 0")
    training = bench.recipe.training.model_copy(update={"batch_size": _TOGETHER, "accumulation": 1})
    # Neither labels nor what teachers said of them: the stage has an objective of its own.
    recipe = bench.recipe.model_copy(update={"training": training, "objective": Objective()})
    brief = replace(bench, recipe=recipe, extras={}).briefly(
        items[texts], epochs=settings.contrastive_epochs, learning_rate=settings.contrastive_learning_rate
    )
    bench.prepared = brief.prepared
    fit = brief.fit(folder, prunes=False)
    course, whole = fit.feeder.course, first.take(texts)
    cut = [
        halves(whole, special=special, generator=np.random.default_rng([course.seed, epoch, 3]))
        for epoch in range(course.epochs)
    ]
    feeder = replace(
        fit.feeder,
        table=end_to_end(cut),
        labels=np.tile(np.repeat(np.arange(len(texts)), 2), course.epochs),
        prefix=None,
        deal=partial(_deal, whole.lengths(), course),
        forward_tokens=sys.maxsize,
    )
    return replace(fit, objective=contrastive(temperature=settings.contrastive_temperature), feeder=feeder)


def _deal(lengths: np.ndarray, course: Course, epoch: int) -> list[np.ndarray]:
    """Both sides of each text in one batch, in that epoch's part of the table."""
    dealt = epoch_batches(lengths, batch_size=course.batch_size, seed=course.seed, epoch=epoch, order=course.order)
    return [both_sides(len(lengths) * epoch + texts) for texts in dealt]


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the stage has learnt; the head is not among it."""
    return {name: one.detach().clone() for name, one in after.items() if not torch.equal(one, before[name])}
