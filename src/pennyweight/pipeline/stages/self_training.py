"""Self-training: texts without labels are labelled by networks trained so far, and join the training items."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.cache import Cache
from pennyweight.console import Speaker
from pennyweight.pipeline.keeping import Arrays, in_parts, kept, read_arrays
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.stages.acquainting import acquaint
from pennyweight.pipeline.stages.fitting import train_network
from pennyweight.pipeline.stages.surveying import Survey
from pennyweight.pipeline.stages.teachers import Teacher
from pennyweight.pipeline.stages.teaching import ask, softened, spread
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.distillation import SOFT_TARGETS, soft_targets
from pennyweight.training.propagation import propagated
from pennyweight.training.pseudo_labels import Choice, choose

_ASKED = "teachers-unlabelled.safetensors"


def self_train(
    bench: Workbench, teachers: Sequence[Teacher], *, folder: Path, cache: Cache, speaker: Speaker
) -> list[dict[str, Any]]:
    """Have the texts without labels labelled, round by round; those that are believed become training items.

    Args:
        bench: the workbench; its items, extras and epochs are those of the union afterwards, its network as before.
        teachers: who labels the texts, where the recipe has not networks of its own do it.
        folder: where the labellers are trained, and what they said is kept until the run is done.
        cache: where each teacher's logits are kept beyond that.
        speaker: told of each round.

    Returns:
        For each round how many texts were chosen, in all and by class, and the class thresholds; empty where the
        recipe names no such texts.

    Raises:
        InputError: a mixture is to label the texts, and a class has no labelled item.
        Interrupted: SIGINT or SIGTERM came; going on begins with the labeller that was not done.
        RunError: training diverged, or a file cannot be written or is damaged.
    """
    chosen = bench.recipe.unlabelled
    if chosen.source is None:
        return []
    labelled, extras = bench.collected, bench.extras
    acquaint(bench, folder, speaker)
    shares = _shares(labelled) if chosen.alignment else None
    survey = Survey(bench, labelled, folder, speaker)
    records = []
    for number in range(1, chosen.rounds + 1):
        if chosen.labeller == "teachers":
            path, texts = folder / _ASKED, labelled.unlabelled
            logits = ask(bench, teachers, texts, path=path, cache=cache, speaker=speaker)
            believed = softened(logits, bench.recipe.teachers.weights)
        elif chosen.labeller == "mixture" and number == 1:
            believed = softened([survey.mixture(shares)])
        else:
            believed = softened(_opinions(bench, number, folder=folder, speaker=speaker))
        if chosen.neighbours:
            neighbours = [survey.neighbours(sense, chosen.neighbours) for sense in chosen.neighbours_by]
            believed = propagated(believed, survey.given(), neighbours, shares=shares)
        choice = choose(believed, confidence=chosen.confidence, shares=shares)
        # Always from what was labelled at first: a text that is no longer believed leaves again.
        bench.collected, bench.extras = labelled, extras
        _join(bench, choice)
        records.append(_record(number, choice, labelled.label_names))
        counts = ", ".join(f"{name} {count:,}" for name, count in records[-1]["classes"].items())
        speaker.say(
            f"round {number}: {len(choice.chosen):,} of {len(labelled.unlabelled):,} texts get a label ({counts})"
        )
    return records


def _shares(labelled: Collected) -> np.ndarray:
    """How frequent the classes are among the labelled items, [classes]."""
    counts = np.bincount(labelled.labels[labelled.learnt], minlength=len(labelled.label_names))
    return np.asarray(counts / counts.sum())


def _opinions(bench: Workbench, number: int, *, folder: Path, speaker: Speaker) -> list[np.ndarray]:
    """Logits of the texts without labels by each labeller of a round, from its file where it is done already."""
    count = bench.recipe.unlabelled.labellers
    opinions = []
    for member in range(1, count + 1):
        name = f"labeller-{number}-{member}"
        path = folder / f"{name}.safetensors"
        if not path.exists():
            labeller = bench.anew(seed=_seed(bench.recipe.training.seed, number, member))
            (folder / name).mkdir(parents=True, exist_ok=True)
            what = f"round {number}, labeller {member} of {count}"
            train_network(labeller, folder / name, speaker, what=what)
            _label(labeller, path, speaker, what=f"{what} labels the texts")
            bench.accelerator.free_memory()
        if bench.accelerator.is_main_process:
            shutil.rmtree(folder / name, ignore_errors=True)
        opinions.append(read_arrays(path)["logits"])
    return opinions


def _label(labeller: Workbench, path: Path, speaker: Speaker, *, what: str) -> None:
    """Write the logits that a trained labeller gives the texts without labels."""
    label, texts = partial(labeller.logits, labeller.network), labeller.collected.unlabelled

    def compute(go_on: Callable[[], None]) -> Arrays:
        return {"logits": in_parts(label, texts, speaker=speaker, what=what, go_on=go_on)}

    kept(path, compute, accelerator=labeller.accelerator, what=what, shared=True)


def _join(bench: Workbench, choice: Choice) -> None:
    """Put the chosen texts among the training items of a workbench, whose items are the labelled ones alone."""
    collected, chosen = bench.collected, bench.recipe.unlabelled
    views = collected.views[choice.chosen]
    labels = collected.labels.copy()
    labels[views] = choice.labels
    mixture = 1.0 if chosen.labels == "soft" else 0.0
    own = soft_targets(choice.probabilities, mixture=mixture, temperature=1.0, weight=chosen.weight)
    extras = spread(own, views, count=len(labels))
    if SOFT_TARGETS in bench.extras:
        for name, rows in bench.extras.items():
            extras[name][collected.training] = rows[collected.training]
    bench.collected = replace(collected, labels=labels, training=np.concatenate([collected.training, views]))
    bench.extras = extras
    own_way = {"epochs": chosen.epochs, "learning_rate": chosen.learning_rate}
    training = bench.recipe.training.model_copy(update={key: one for key, one in own_way.items() if one is not None})
    bench.recipe = bench.recipe.model_copy(update={"training": training})


def _record(number: int, choice: Choice, names: Sequence[str]) -> dict[str, Any]:
    return {
        "round": number,
        "chosen": len(choice.chosen),
        "classes": dict(zip(names, choice.counts().tolist(), strict=True)),
        "thresholds": {name: round(float(one), 4) for name, one in zip(names, choice.thresholds, strict=True)},
    }


def _seed(own: int, number: int, member: int) -> int:
    """A seed for each labeller: of no two runs, rounds or members the same but by chance."""
    return int(np.random.default_rng([own, number, member]).integers(2**31))
