"""One run of `benchmarks.time_to_accuracy`: learn until the goal is reached, in the process that this is."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import backbone_folder, layers_of
from benchmarks.items import Items, agnews, agnews_file

GOAL = 0.9
INTERVAL = 32
"""Steps between looks at the test items."""
EARLIEST = 0.5
"""Share of the course before which nobody looks: a rate that decays to zero gets there late."""
GLANCE = 4
"""Every so many-th test item is predicted first."""
FAR = 0.014
"""Who is this far from the goal on those, two standard deviations of them, is not asked for the rest."""


@dataclass(frozen=True)
class Setting:
    """How a contender learns."""

    learning_rate: float
    """Peak; it decays linearly over all epochs."""
    epochs: int


@dataclass(frozen=True)
class Task:
    """What a run has to do."""

    contender: str
    data: str
    items: int
    test_items: int | None
    goal: float
    setting: Setting
    seed: int
    dropout: bool
    """Keep dropout on in Pennyweight too: the search stands in for Trainer's contenders so."""
    give_up: int | None = None
    """Items after which the run ends even without its goal."""
    backbone: str = "minilm"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """From JSON."""
        return cls(**{**values, "setting": Setting(**values["setting"])})

    def training(self) -> Items:
        """The items to learn from."""
        return agnews(Path(self.data), "train", count=self.items)

    def test(self) -> Items:
        """The items to be judged on."""
        return agnews(Path(self.data), "test", count=self.test_items)


class Judge:
    """Keeps the clock of a run and looks at the test items now and then."""

    def __init__(self, task: Task, begun: float) -> None:
        """Take over a clock that was started at ``begun``, in seconds since the epoch."""
        self._task = task
        self._begun = begun
        self._paused = 0.0
        self.curve: list[tuple[float, int, float]] = []
        """Seconds, items seen and accuracy at every look."""
        with self._pause():
            self._test = task.test()
            self._truth = np.asarray(self._test.labels)

    def look(self, logits: Callable[[Items], np.ndarray], items_seen: int) -> bool:
        """Predict the test items, far from the goal only some, the clock stopped; whether the run is over."""
        seconds = self.seconds()
        with self._pause():
            accuracy = accuracy_of(logits, self._test.every(GLANCE))
            if accuracy >= self._task.goal - FAR:
                accuracy = accuracy_of(logits, self._test)
        self.curve.append((seconds, items_seen, accuracy))
        return accuracy >= self._task.goal or items_seen >= (self._task.give_up or math.inf)

    def seconds(self) -> float:
        """What the clock shows."""
        return time.time() - self._begun - self._paused

    def result(self) -> dict[str, Any]:
        """The run as it is kept: where it reached the goal, else where it was best."""
        seconds, items_seen, accuracy = max(self.curve, key=lambda point: point[2])
        return {
            "seed": self._task.seed,
            "setting": asdict(self._task.setting),
            "items": self._task.items,
            "goal": self._task.goal,
            "reached": accuracy >= self._task.goal,
            "seconds": seconds,
            "items_seen": items_seen,
            "accuracy": accuracy,
            "test_items": len(self._truth),
            "predicting_seconds": self._paused,
            "curve": self.curve,
        }

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        """The clock stands meanwhile."""
        since = time.time()
        try:
            yield
        finally:
            self._paused += time.time() - since


def is_due(step: int, total: int) -> bool:
    """Whether all look at the test items after this step, counted from 1, of a course of ``total``."""
    return (step % INTERVAL == 0 and step >= EARLIEST * total) or step == total


def accuracy_of(logits: Callable[[Items], np.ndarray], items: Items) -> float:
    """Share of the items whose greatest logit is their label's."""
    return float((logits(items).argmax(axis=1) == np.asarray(items.labels)).mean())


def run_trainer(task: Task, begun: float) -> dict[str, Any]:
    """Trainer: ``notebook``, ``tuned`` or ``full``, which trains everything with the flags of ``tuned``."""
    import torch
    from transformers import TrainerCallback

    from benchmarks.peers import (
        BATCH_SIZE,
        NOTEBOOK,
        TUNED,
        build_model,
        load_tokenizer,
        make_trainer,
        model_logits,
        on_this_machine,
        quieten,
    )
    from pennyweight.model.device import best_device, fast_bf16

    quieten()
    judge = Judge(task, begun)
    flags = {"notebook": NOTEBOOK, "tuned": TUNED, "full": replace(TUNED, adapters=False)}[task.contender]
    flags = on_this_machine(flags)
    flags = replace(flags, arguments={**flags.arguments, "seed": task.seed})
    torch.manual_seed(task.seed)
    backbone, quick = backbone_folder(task.backbone), fast_bf16(best_device())
    tokenizer, model = load_tokenizer(backbone), build_model(backbone, flags)

    class Look(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not is_due(state.global_step, state.max_steps):
                return
            seen = min(state.global_step * BATCH_SIZE, task.items * task.setting.epochs)
            if judge.look(lambda items: model_logits(model, tokenizer, items.texts, bf16=quick), seen):
                control.should_training_stop = True

    make_trainer(
        model,
        tokenizer,
        task.training(),
        flags,
        learning_rate=task.setting.learning_rate,
        epochs=task.setting.epochs,
        callbacks=[Look()],
    ).train()
    return judge.result()


def run_pennyweight(task: Task, begun: float) -> dict[str, Any]:
    """Pennyweight, with LoRA in all layers or, as ``upper_half``, in the upper half of them."""
    from benchmarks.contenders import PennyweightLearner, recipe_for, upper_half
    from benchmarks.peers import TARGETS

    judge = Judge(task, begun)
    recipe = recipe_for(
        task.backbone,
        agnews_file(Path(task.data), "train"),
        items=task.items,
        targets=upper_half(layers_of(task.backbone)) if task.contender == "upper_half" else TARGETS,
        learning_rate=task.setting.learning_rate,
        epochs=task.setting.epochs,
        dropout=task.dropout,
        seed=task.seed,
    )
    learner = PennyweightLearner(recipe, Items((), ()))
    seen = 0
    for report in learner.steps():
        seen += report.items
        if is_due(report.step + 1, learner.total_steps) and judge.look(learner.logits, seen):
            break
    return judge.result()


def run_tfidf(task: Task, begun: float) -> dict[str, Any]:
    """TF-IDF of words and pairs of words, and a linear support-vector machine: where it stops, it stops."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    judge = Judge(task, begun)
    items = task.training()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    machine = LinearSVC(random_state=task.seed).fit(vectorizer.fit_transform(items.texts), items.labels)
    judge.look(lambda test: np.asarray(machine.decision_function(vectorizer.transform(test.texts))), len(items))
    return judge.result()


RUNNERS: Mapping[str, Callable[[Task, float], dict[str, Any]]] = {
    "notebook": run_trainer,
    "tuned": run_trainer,
    "full": run_trainer,
    "pennyweight": run_pennyweight,
    "upper_half": run_pennyweight,
    "tfidf": run_tfidf,
}
