"""Pennyweight as a contender: what `pennyweight.pipeline.run` sets up for a recipe, its loop driven from outside."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.flops import Encoder, adapters_by_kind, needed_flops
from benchmarks.harness import Share, timed
from benchmarks.items import LABELS, MAX_LENGTH, Items
from benchmarks.peers import ALPHA, BATCH_SIZE, RANK, TARGETS, cross_entropy
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe

ENDLESS = 100_000
"""Epochs of a recipe whose run is ended from outside."""


def recipe_for(
    backbone: str,
    source: Path,
    *,
    items: int,
    learning_rate: float,
    targets: tuple[str, ...] | str = TARGETS,
    epochs: int = ENDLESS,
    dropout: bool = False,
    seed: int = 0,
) -> Recipe:
    """The recipe that does what the Trainer contenders do: LoRA r 8, stock head, batch 32, AdamW.

    Args:
        backbone: alias or folder.
        source: file of items.
        items: how many of the first of them.
        learning_rate: peak.
        targets: which matrices.
        epochs: passes over the items.
        dropout: keep the backbone's dropout and drop 10 % on the adapter path, as notebooks do.
        seed: of all that is random.
    """
    return build_recipe(
        {
            "backbone": {"name": backbone, "dropout": dropout},
            "data": {"source": str(source), "labels": LABELS, "validation": 0, "limit": items},
            "text": {"max_length": MAX_LENGTH},
            "adapters": {"targets": targets, "rank": RANK, "alpha": ALPHA, "dropout": 0.1 if dropout else 0.0},
            "head": {"kind": "stock"},
            "training": {
                "epochs": epochs,
                "batch_size": BATCH_SIZE,
                "learning_rate": learning_rate,
                "schedule": "linear",
                "warmup": 0,
                "seed": seed,
            },
        }
    )


def upper_half(layers: int) -> tuple[str, ...]:
    """The usual matrices in the upper half of the layers."""
    return tuple(f"{target}@{-(layers // 2)}:" for target in TARGETS)


class PennyweightLearner:
    """One network, which learns the same items again and again."""

    def __init__(self, recipe: Recipe, held_out: Items) -> None:
        """Plan, read, tokenise, load and adapt, and compute the frozen prefix, none of which is timed."""
        from accelerate import Accelerator

        from pennyweight.budget.backbones import read_config
        from pennyweight.budget.known import architecture_of
        from pennyweight.cache import default_cache
        from pennyweight.console import Speaker
        from pennyweight.model.device import best_device
        from pennyweight.pipeline.planning import plan_architecture
        from pennyweight.pipeline.prefixing import keep_prefix
        from pennyweight.pipeline.preparation import collect
        from pennyweight.pipeline.workbench import machine_for, set_up

        self._architecture = architecture_of(read_config(recipe.backbone.name), classes=len(LABELS))
        self._plan = plan_architecture(recipe, self._architecture, classes=len(LABELS))
        cache = default_cache()
        accelerator = Accelerator(cpu=best_device().type == "cpu", mixed_precision="no")
        self._bench = set_up(
            recipe,
            collect(recipe),
            plan=self._plan,
            architecture=self._architecture,
            accelerator=accelerator,
            machine=machine_for(recipe, self._architecture, accelerator.device),
            cache=cache,
        )
        keep_prefix(self._bench, cache, Speaker(enabled=False))
        self._fit = self._bench.fit(Path(tempfile.mkdtemp(prefix="pennyweight-benchmark-")))
        self._held_out = held_out
        self._next_step = 0

    def learn(self, batches: int | None = None) -> Share:
        """One pass over the items, or its first ``batches``, the rate decaying as Trainer's does."""
        return timed(lambda: self._learn(batches))

    def _learn(self, batches: int | None) -> int:
        return sum(report.items for report in itertools.islice(self.steps(), batches or self._steps_per_epoch))

    @property
    def _steps_per_epoch(self) -> int:
        return self._fit.feeder.course.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps over which the learning rate decays: those of the run, or of each pass of an endless one."""
        epochs = self._bench.recipe.training.epochs
        return self._steps_per_epoch * (1 if epochs == ENDLESS else epochs)

    def steps(self) -> Iterator[Any]:
        """The loop as `pennyweight.training.fit` drives it, from the next step on: an iterator of reports."""
        from pennyweight.ahead import ahead
        from pennyweight.training.loop import training_steps

        total, training = self.total_steps, self._bench.recipe.training
        with ahead(self._fit.feeder.steps(self._next_step)) as steps:
            for report in training_steps(
                self._fit.network,
                self._fit.optimizers,
                self._fit.objective,
                steps,
                accelerator=self._fit.accelerator,
                factor=lambda step: 1 - (step % total) / total,
                gradient_clip=training.gradient_clip,
                seed=training.seed,
            ):
                self._next_step = report.step + 1
                yield report

    def loss(self) -> float:
        """Mean loss on the held-out items, dropout off."""
        return cross_entropy(self.logits(self._held_out), self._held_out.labels)

    def logits(self, items: Items) -> np.ndarray:
        """Logits of some items."""
        from pennyweight.data.batches import tokenise
        from pennyweight.model.inference import compute_logits

        table = tokenise(items.texts, self._bench.tokenizer, max_length=MAX_LENGTH)
        return compute_logits(self._bench.network, table, batch_size=64, pad_id=self._bench.tokenizer.pad_token_id)

    def needed_per_pass(self) -> int:
        """FLOPs that one pass over the items needs; with a kept prefix, without those of the frozen layers."""
        encoder = Encoder(
            layers=self._architecture.layers,
            hidden=self._architecture.hidden,
            inner=self._inner,
            classes=len(LABELS),
            dense_head=True,
            dense_head_learns=self._architecture.model_type != "bert",
        )
        ranks = adapters_by_kind((one.name, int(one.layer or 0), one.rank) for one in self._plan.matrices)
        lengths = self._bench.table.lengths().tolist()
        return needed_flops(lengths, encoder, ranks, prefix_kept=self._bench.prefix is not None).total

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {
            "machine": self._bench.machine.line(),
            "adapters": len(self._plan.matrices),
            "layers_adapted": sorted({one.layer for one in self._plan.matrices if one.layer is not None}),
            "trainable": sum(p.numel() for p in self._bench.network.trainable().values()),
            "prefix_kept": self._bench.prefix is not None,
            "tokens_mean": float(self._bench.table.lengths().mean()),
            "hidden": self._architecture.hidden,
            "inner": self._inner,
        }

    @property
    def _inner(self) -> int:
        return int(self._bench.files.config["intermediate_size"])
