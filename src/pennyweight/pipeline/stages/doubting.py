"""Labels that are probably wrong: judged by networks that did not learn from them, then dropped or learnt otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pennyweight.console import Speaker
from pennyweight.data.filtering import Dropped
from pennyweight.data.inspection import first_equals
from pennyweight.data.noise import Doubts, deal_folds, find_doubts
from pennyweight.errors import InputError
from pennyweight.evaluation.metrics import log_softmax
from pennyweight.pipeline.folder import OUT_OF_FOLD
from pennyweight.pipeline.keeping import read_arrays, write_arrays
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.checkpoints import Progress
from pennyweight.training.pseudo_labels import aligned

DOUBTFUL = "of doubtful label"
RELABELLED = "of doubtful label, learnt as another class"
LOGITS = "logits.safetensors"


def doubt_labels(bench: Workbench, folder: Path, speaker: Speaker) -> None:
    """Find the training items with doubtful labels, and have the workbench drop or relearn them, as its recipe says.

    All of them stand in the list of what was filtered, with the class that they probably are of.

    Args:
        bench: ready to train, its network at its initial weights, where it is again afterwards.
        folder: where the run keeps what it needs to be resumed.
        speaker: where progress and the counts go.

    Raises:
        InputError: a class has fewer items than there are folds, or none would be left.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
        RunError: what an earlier sitting found cannot be read.
    """
    settings, collected = bench.recipe.filter, bench.collected
    if settings.label_noise == "keep":
        return
    items = collected.learnt
    labels = collected.labels[items]
    _require_enough(labels, collected.label_names, folds=settings.label_noise_folds)
    probabilities = _out_of_fold(bench, folder / OUT_OF_FOLD, speaker)
    if settings.label_noise_shares == "even":
        there = np.bincount(labels, minlength=len(collected.label_names)) > 0
        probabilities = aligned(probabilities, there / there.sum())
    doubts = find_doubts(probabilities, labels, threshold=settings.label_noise_threshold)
    names = tuple(collected.label_names[label] for label in doubts.suggested.tolist())
    found = Dropped(items[doubts.items], DOUBTFUL, found=names, confidence=tuple(doubts.confidence.tolist()))
    if settings.label_noise == "drop":
        bench.collected = collected.without(found)
    else:
        learnt = collected.labels.copy()
        learnt[found.items] = doubts.suggested
        bench.collected = collected.relabelled(learnt, replace(found, reason=RELABELLED))
    speaker.say(_line(collected, doubts, dropped=settings.label_noise == "drop"))


def _line(collected: Collected, doubts: Doubts, *, dropped: bool) -> str:
    """How many items of each class are concerned, and what becomes of them."""
    names, labels = collected.label_names, collected.labels[collected.learnt]
    there = np.bincount(labels, minlength=len(names))
    found = np.bincount(labels[doubts.items], minlength=len(names))
    counts = ", ".join(f"{name} {found[i]:,} of {there[i]:,}" for i, name in enumerate(names) if found[i])
    fate = "left out" if dropped else "learnt as the class that they probably are of"
    return f"data: {len(doubts.items):,} of {len(labels):,} training items are {DOUBTFUL}, {fate}" + (
        f" ({counts})" if counts else ""
    )


def _require_enough(labels: np.ndarray, names: Sequence[str], *, folds: int) -> None:
    counts = np.bincount(labels, minlength=len(names))
    for name, count in zip(names, counts.tolist(), strict=True):
        if 0 < count < folds:
            raise InputError(
                f"filter.label_noise needs an item of each class in each of {folds} folds, class {name} has {count}; "
                f"set filter.label_noise_folds to {max(count, 2)}, or filter.label_noise to 'keep'"
            )


def _out_of_fold(bench: Workbench, folder: Path, speaker: Speaker) -> np.ndarray:
    """Probabilities of each real training item by a network that learnt from the other folds, [items, classes].

    Each fold is a short training with a checkpoint of its own; once all are done, only the logits are kept.
    """
    collected, folds = bench.collected, bench.recipe.filter.label_noise_folds
    items, path = collected.learnt, folder / LOGITS
    if not path.exists():
        fold = np.full(len(collected.labels), -1)
        # Equal texts would tell of each other's labels.
        origins = first_equals(collected.cleaned[item] for item in items.tolist())
        fold[items] = deal_folds(collected.labels[items], folds=folds, seed=bench.recipe.training.seed, origins=origins)
        fold = fold[collected.origin]  # a copy would tell the network of its item's label
        initial = {name: parameter.detach().clone() for name, parameter in bench.network.trainable().items()}
        logits = np.zeros((len(items), len(collected.label_names)), dtype=np.float32)
        for number in range(folds):
            learnt = collected.training[fold[collected.training] != number]
            _learn(bench, learnt, folder / str(number), speaker, f"judging labels, fold {number + 1} of {folds}")
            held_out = fold[items] == number
            logits[held_out] = bench.logits(bench.network, items[held_out])
            _put_back(bench, initial)
        if bench.accelerator.is_main_process:
            write_arrays(path, {"logits": logits})
            for number in range(folds):
                shutil.rmtree(folder / str(number))
        bench.accelerator.wait_for_everyone()
    return np.exp(log_softmax(read_arrays(path)["logits"]))


def _learn(bench: Workbench, items: np.ndarray, folder: Path, speaker: Speaker, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fit = bench.briefly(items, epochs=bench.recipe.filter.label_noise_epochs).fit(folder)
    with speaker.bar(what, fit.feeder.course.total_steps) as bar:

        def listen(report: Any, progress: Progress) -> None:
            bar.update(progress.next_step, f"loss {report.loss:.3f}")

        fit.run(listen)


def _put_back(bench: Workbench, initial: Mapping[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in bench.network.trainable().items():
            parameter.copy_(initial[name])
