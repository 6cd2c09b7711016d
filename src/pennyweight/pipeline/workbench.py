"""What one run works with: tokens, network, the frozen layers' output, and all that is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture
from pennyweight.cache import Cache
from pennyweight.data.batches import TokenTable
from pennyweight.data.tokens import tokenise_cached
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.evaluation.decisions import HALF, Decision, tune_thresholds
from pennyweight.evaluation.judged import validation_scores
from pennyweight.model.adapters import require_planned_count
from pennyweight.model.attention import has_fused_attention
from pennyweight.model.backbone import BackboneFiles, find_backbone, load_tokenizer
from pennyweight.model.device import Machine, choose_machine
from pennyweight.model.folding import fold
from pennyweight.model.inference import compute_features, compute_logits
from pennyweight.model.network import Network, build_network
from pennyweight.model.prefix import Prefix, forget_orders
from pennyweight.model.stack import FAMILY
from pennyweight.pipeline.beginning import begin_adapters
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.unpacking import (
    adapters_of,
    conduct_of,
    course_of,
    cutting_of,
    forward_tokens_of,
    head_of,
    objective_of,
    pruning_of,
)
from pennyweight.recipe import Recipe
from pennyweight.training.feeding import Feeder
from pennyweight.training.fit import Fit
from pennyweight.training.optimizers import make_optimizers
from pennyweight.training.pruning import orthogonal, prune_behind


@dataclass
class Workbench:
    """A recipe's network and tokens, ready to train; `set_up` makes it."""

    recipe: Recipe
    accelerator: Any
    machine: Machine
    files: BackboneFiles
    tokenizer: Any
    collected: Collected
    table: TokenTable
    """Tokens of all collected items."""
    network: Network
    build: Callable[[int], Network]
    """Makes an untrained network like that one from a seed."""
    plan: Plan
    prefix: Prefix | None = field(default=None)
    """What the frozen layers make of all rows of `table`, where that is kept."""
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    """What else the objective wants to know of every collected item, by name, each [items, …]."""
    begun: dict[str, Any] = field(default_factory=dict)
    """Trainable tensors, by name, that every network made anew begins with; what is not named begins by chance."""
    prepared: Any = field(default=None)
    """The network as the accelerator drives it, from the first `fit` on: of several processes it is wrapped once."""

    def savings(self) -> str:
        """What need not be computed again, as words behind the machine's line; empty where there is nothing."""
        if self.prefix is None:
            return ""
        return f", {self.network.frozen_layers} frozen layers from the cache ({self.prefix.bytes / 1e6:,.0f} MB)"

    def fit(self, folder: Path, *, prunes: bool = True) -> Fit:
        """The training run, to be conducted in ``folder``; unless it ``prunes``, all of AdaLoRA's ranks stay."""
        training, feeder = self.recipe.training, self.feeder()
        optimizers = make_optimizers(
            training.optimizer,
            self.network.trainable(),
            learning_rate=training.learning_rate,
            lora_plus=training.lora_plus,
            betas=training.betas,
            epsilon=training.epsilon,
            weight_decay=training.weight_decay,
        )
        objective = objective_of(self.recipe, feeder, classes=len(self.collected.label_names))
        pruning = pruning_of(self.recipe, self.plan, steps=feeder.course.total_steps) if prunes else None
        if pruning is not None:
            prune_behind(optimizers, self.network.encoder, pruning)
            objective = orthogonal(objective, self.network.encoder, weight=self.recipe.adapters.orthogonality)
        if self.prepared is None:
            self.prepared = self.accelerator.prepare(self.network)
        return Fit(
            network=self.prepared,
            optimizers=[self.accelerator.prepare(optimizer) for optimizer in optimizers],
            objective=objective,
            feeder=feeder,
            conduct=conduct_of(self.recipe, feeder.course, pruning),
            accelerator=self.accelerator,
            folder=folder,
            validate=self.validate if len(self.collected.validation) else None,
        )

    def feeder(self) -> Feeder:
        """What turns the training items into batches."""
        items, text = self.collected.training, self.recipe.text
        return Feeder(
            course=course_of(self.recipe, items=len(items)),
            table=self.table.take(items),
            labels=self.collected.labels[items],
            pad_id=self.tokenizer.pad_token_id,
            length=text.max_length if text.padding == "fixed" else None,
            device=self.accelerator.device,
            prefix=self.prefix and self.prefix.take(self.table.rows(items)),
            forward_tokens=forward_tokens_of(self.recipe),
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            extras={name: rows[items] for name, rows in self.extras.items()},
        )

    def labelled(self) -> np.ndarray:
        """The training items whose labels were given, without altered copies and texts that a network has labelled."""
        return self.collected.learnt

    def briefly(self, items: np.ndarray, *, epochs: int, learning_rate: float | None = None) -> Workbench:
        """The same network and tokens for a stage before the run proper: nothing is held out, the last weights stay.

        Args:
            items: collected items to learn from.
            epochs: passes over them.
            learning_rate: peak rate; none: the run's own.
        """
        if self.prepared is None:
            self.prepared = self.accelerator.prepare(self.network)
        training = self.recipe.training
        changes = {
            "epochs": epochs,
            "learning_rate": learning_rate or training.learning_rate,
            "keep": "last",
            "patience": None,
            "schedule": "cosine" if training.schedule == "plateau" else training.schedule,
        }
        return replace(
            self,
            recipe=self.recipe.model_copy(update={"training": training.model_copy(update=changes)}),
            collected=replace(self.collected, training=items, validation=items[:0]),
        )

    def validate(self) -> dict[str, float]:
        """Scores of the network as it stands, on the validation split."""
        held_out = self.collected.validation
        logits, labels = self.logits(self.network, held_out), self.collected.labels[held_out]
        decision = self._with_thresholds(Decision(self.recipe.data.task), logits, labels)
        return validation_scores(self.collected.label_names, decision, logits, labels)

    def deployed(self) -> Network:
        """The network as a classifier folder is opened, its adapters folded in, to be judged as it will predict."""
        forget_orders(self.network)  # it has learnt; what comes has orders of its own
        folded = fold(self.network)
        folded.frozen_layers = self.network.frozen_layers  # nothing was folded into them: the prefix is theirs, too
        return folded

    def decision(self, network: Network) -> Decision:
        """How the classifier turns logits into labels: temperature and thresholds, as fit the validation split best.

        The temperature is 1, and the thresholds are a half, where there is no such split or they are not wanted.

        Args:
            network: the trained network, or what became of it.
        """
        held_out, evaluation = self.collected.validation, self.recipe.evaluation
        plain = Decision(self.recipe.data.task)
        if not len(held_out) or not (evaluation.temperature_scaling or plain.several):
            return self._with_thresholds(plain, None, None)
        return self.fitted(self.logits(network, held_out))

    def fitted(self, logits: np.ndarray) -> Decision:
        """`decision` from logits of the validation split, [items, classes], however they came about."""
        decision, labels = Decision(self.recipe.data.task), self.collected.labels[self.collected.validation]
        if self.recipe.evaluation.temperature_scaling:
            decision = replace(decision, temperature=fit_temperature(logits, labels))
        return self._with_thresholds(decision, logits, labels)

    def _with_thresholds(self, decision: Decision, logits: np.ndarray | None, labels: np.ndarray | None) -> Decision:
        """A decision with a threshold for each label, where items may have several."""
        if not decision.several:
            return decision
        if logits is None or labels is None or self.recipe.evaluation.thresholds == "half":
            return replace(decision, thresholds=(HALF,) * len(self.collected.label_names))
        return replace(decision, thresholds=tune_thresholds(decision.probabilities(logits), labels))

    def logits(self, network: Network, items: np.ndarray) -> np.ndarray:
        """Logits of some of the collected items, the batches shared out among the processes."""
        import torch

        part = compute_logits(
            network,
            self.table.take(items),
            batch_size=self.recipe.evaluation.batch_size,
            pad_id=self.tokenizer.pad_token_id,
            prefix=self.prefix and self.prefix.take(self.table.rows(items)),
            part=self.accelerator.process_index,
            parts=self.accelerator.num_processes,
        )
        if self.accelerator.num_processes == 1:
            return part
        whole = self.accelerator.reduce(torch.from_numpy(part).to(self.accelerator.device), reduction="sum")
        return np.asarray(whole.cpu().numpy())

    def anew(self, *, seed: int) -> Workbench:
        """The same items with a network of its own that has learnt no label, its seed another."""
        training = self.recipe.training.model_copy(update={"seed": seed})
        recipe = self.recipe.model_copy(update={"training": training})
        network = self.build(seed)
        own = network.trainable()
        for name, tensor in self.begun.items():
            own[name].data.copy_(tensor)
        return replace(self, recipe=recipe, network=network, prepared=None)

    def special_ids(self) -> list[int]:
        """Ids of the tokens that the tokenizer puts around texts; that of what it does not know is none of them."""
        return [one for one in self.tokenizer.all_special_ids if one != self.tokenizer.unk_token_id]

    def features(self, items: np.ndarray) -> np.ndarray:
        """What the head sees of some of the collected items, [items, hidden]; every process computes all."""
        return compute_features(
            self.network,
            self.table.take(items),
            batch_size=self.recipe.evaluation.batch_size,
            pad_id=self.tokenizer.pad_token_id,
            prefix=self.prefix and self.prefix.take(self.table.rows(items)),
        )


def machine_for(recipe: Recipe, architecture: Architecture, device: Any) -> Machine:
    """Where and how a recipe is trained; raises as `choose_machine` does."""
    return choose_machine(
        precision=recipe.backbone.precision,
        attention=recipe.backbone.attention,
        device=device,
        packable=architecture.model_type in FAMILY and not recipe.backbone.dropout,
        fusable=has_fused_attention(architecture.model_type),
    )


def set_up(
    recipe: Recipe,
    collected: Collected,
    *,
    plan: Plan,
    architecture: Architecture,
    accelerator: Any,
    machine: Machine,
    cache: Cache,
) -> Workbench:
    """Load backbone and tokenizer, tokenise, build the network of a plan; raises as these do and `begin_adapters`."""
    import torch

    files = find_backbone(recipe.backbone.name, revision=recipe.backbone.revision)
    tokenizer = load_tokenizer(files, add_prefix_space=recipe.text.add_prefix_space)
    table = tokenise_cached(collected.cleaned, tokenizer, **cutting_of(recipe)._asdict(), cache=cache)

    def build(seed: int) -> Network:
        torch.manual_seed(seed)
        network = build_network(
            files,
            machine,
            architecture=architecture,
            planned=plan.matrices,
            head=head_of(recipe, classes=len(collected.label_names)),
            adapters=adapters_of(recipe, plan, steps=course_of(recipe, items=len(collected.training)).total_steps),
            keep_dropout=recipe.backbone.dropout,
        )
        require_planned_count(network, plan.trainable)
        begin_adapters(recipe, network, table.take(collected.training), pad_id=tokenizer.pad_token_id)
        if recipe.training.gradient_checkpointing:
            network.checkpoint_gradients()
        return network

    network = build(recipe.training.seed)
    return Workbench(recipe, accelerator, machine, files, tokenizer, collected, table, network, build, plan)
