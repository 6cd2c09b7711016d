"""A recipe's sections as the plain values that the rooms below take, and what a run records of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pennyweight.budget.backbones import ALIASES, is_folder
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture
from pennyweight.environment import git_state, peak_resident_bytes, versions
from pennyweight.evaluation.decisions import Decision
from pennyweight.manifest import (
    AdapterRecord,
    BackboneRecord,
    HeadRecord,
    Manifest,
    TextRecord,
    WindowsRecord,
)
from pennyweight.manifest_copies import CopiesRecord
from pennyweight.model.backbone import BackboneFiles
from pennyweight.model.device import Machine, peak_device_bytes
from pennyweight.model.kinds import AdapterOptions, Pruning
from pennyweight.model.network import HeadShape
from pennyweight.recipe import Pooling, Recipe
from pennyweight.recipe.fields import Attention, Precision
from pennyweight.training.distillation import SOFT_TARGETS, distilled, soft_binary_loss, soft_loss
from pennyweight.training.feeding import Course, Feeder
from pennyweight.training.fit import Conduct, Fitted
from pennyweight.training.losses import ItemLoss, balanced_weights, item_loss, penalty_of
from pennyweight.training.objectives import Objective, one_pass, r_drop, supervised
from pennyweight.training.selection import Selection
from pennyweight.training.several_labels import balanced_positive_weights, binary_loss


def course_of(recipe: Recipe, *, items: int) -> Course:
    """The run in numbers."""
    training = recipe.training
    return Course(
        items=items,
        epochs=training.epochs,
        batch_size=training.batch_size,
        accumulation=training.accumulation,
        validations_per_epoch=training.validations_per_epoch,
        order=recipe.text.order,
        seed=training.seed,
        sampler=training.sampler,
    )


def conduct_of(recipe: Recipe, course: Course, pruning: Pruning | None = None) -> Conduct:
    """How the run is conducted; weights from before ``pruning`` has ended are not chosen."""
    training = recipe.training
    skipped = sum(map(course.validates_after, range(1, pruning.last))) if pruning else 0
    return Conduct(
        schedule=training.schedule,
        warmup=training.warmup,
        cycles=training.cycles,
        plateau_patience=training.plateau_patience,
        gradient_clip=training.gradient_clip,
        selection=Selection(training.metric, training.patience, skipped),
        keep=training.keep,
        checkpoint_steps=training.checkpoint_steps,
    )


def objective_of(recipe: Recipe, feeder: Feeder, *, classes: int) -> Objective:
    """What training minimises over the items of a feeder, whose extras may hold soft targets."""
    objective, several = recipe.objective, recipe.data.task == "multi-label"
    of_item = binary_loss_of(recipe, feeder) if several else item_loss_of(recipe, feeder, classes=classes)
    taught = distilled(of_item, soft_binary_loss if several else soft_loss)
    loss = taught if SOFT_TARGETS in feeder.extras else supervised(of_item)
    return r_drop(loss, weight=objective.r_drop, several=several) if objective.r_drop else one_pass(loss)


def item_loss_of(recipe: Recipe, feeder: Feeder, *, classes: int) -> ItemLoss:
    """The loss against the label, where a text has one class."""
    objective, weights = recipe.objective, recipe.objective.class_weights
    return item_loss(
        objective.loss,
        gamma=objective.gamma,
        q=objective.q,
        label_smoothing=recipe.training.label_smoothing,
        class_weights=balanced_weights(feeder.labels, classes=classes) if weights == "balanced" else weights,
    )


def binary_loss_of(recipe: Recipe, feeder: Feeder) -> ItemLoss:
    """The loss against the labels, where a text has several."""
    objective, weights = recipe.objective, recipe.objective.class_weights
    return binary_loss(
        penalty_of(objective.loss, gamma=objective.gamma, q=objective.q),
        label_smoothing=recipe.training.label_smoothing,
        positive_weights=balanced_positive_weights(feeder.labels) if weights == "balanced" else weights,
    )


def forward_tokens_of(recipe: Recipe) -> int:
    """Most tokens of one batch that a step is fed with; R-Drop makes twice as many of them."""
    tokens = recipe.training.forward_tokens
    return max(tokens // 2, 1) if recipe.objective.r_drop else tokens


def adapters_of(recipe: Recipe, plan: Plan, *, steps: int) -> AdapterOptions:
    """What the plan's matrices do not say of the adapters; ``steps`` is the number of optimizer steps of the run."""
    adapters = recipe.adapters
    return AdapterOptions(
        kind=adapters.kind,
        dropout=adapters.dropout,
        root_scaling=adapters.scaling == "rslora",
        init=adapters.init,
        prompt_length=adapters.prompt_vectors,
        pruning=pruning_of(recipe, plan, steps=steps),
    )


def pruning_of(recipe: Recipe, plan: Plan, *, steps: int) -> Pruning | None:
    """How AdaLoRA's ranks fall over so many optimizer steps; none with other kinds."""
    adapters = recipe.adapters
    if adapters.kind != "adalora":
        return None
    final_rank = adapters.final_rank or plan.matrices[0].rank // 2
    return Pruning(final_rank, total=steps, between=adapters.prune_between)


def head_of(recipe: Recipe, *, classes: int) -> HeadShape:
    """Which head, and its sizes."""
    head = recipe.head
    return HeadShape(
        kind=head.kind,
        classes=classes,
        pooling=pooling_of(recipe) or "cls",
        rank=head.rank,
        dropout=head.dropout,
        windows=recipe.windows.pooling if recipe.windows.count > 1 else None,
    )


class Cutting(NamedTuple):
    """How texts are cut into rows of tokens: what `tokenise` takes."""

    max_length: int
    windows: int
    overlap: int


def cutting_of(recipe: Recipe) -> Cutting:
    """How texts are cut."""
    return Cutting(recipe.text.max_length, recipe.windows.count, recipe.windows.overlap)


def pooling_of(recipe: Recipe) -> Pooling | None:
    """How tokens become one vector; none where the stock head sees to it."""
    return None if recipe.head.kind == "stock" else recipe.head.pooling or "mean"


def describe_run(fitted: Fitted, machine: Machine, *, processes: int, weights: int) -> dict[str, Any]:
    """Versions, machine, seconds, memory (peaks of this process so far) and git state of a training run.

    Args:
        fitted: what the run says of itself.
        machine: where and how it computed.
        processes: how many took part.
        weights: bytes of the network's weights in one of them.
    """
    return {
        "versions": versions(),
        "machine": machine.line(),
        "processes": processes,
        "steps": fitted.steps,
        "steps_planned": fitted.total_steps,
        "best_step": fitted.best_step,
        "stopped_early": fitted.stopped_early,
        "training_seconds": round(fitted.seconds, 2),
        "peak_resident_bytes": peak_resident_bytes(),
        "peak_device_bytes": peak_device_bytes(machine.device),
        "weights_bytes": weights,
        "optimizer_bytes": fitted.optimizer_bytes,
        "git": git_state(),
    }


def backbone_record(
    name: str,
    files: BackboneFiles,
    architecture: Architecture,
    *,
    revision: str | None = None,
    precision: Precision = "auto",
    attention: Attention = "auto",
) -> BackboneRecord:
    """What a classifier folder keeps of a backbone called ``name``: an alias, a Hub id or a folder."""
    alias = ALIASES.get(name)
    if is_folder(name):
        name = str(Path(name).expanduser().resolve())  # the classifier is opened from other folders too
    return BackboneRecord(
        name=name,
        hub_id=alias.hub_id if alias else None,
        revision=revision,
        weights_sha256=files.digest,
        tokenizer_sha256=files.tokenizer_digest,
        model_type=architecture.model_type,
        hidden_size=architecture.hidden,
        precision=precision,
        attention=attention,
    )


def _text_record(recipe: Recipe) -> TextRecord:
    return TextRecord(
        columns=recipe.data.text,
        label_column=recipe.data.label,
        first_label=recipe.data.first_counted,
        cleaning=recipe.text.cleaning,
        max_length=recipe.text.max_length,
        add_prefix_space=recipe.text.add_prefix_space,
        language=recipe.text.language,
        windows=_windows_record(recipe),
        label_separator=recipe.data.label_separator,
    )


def _windows_record(recipe: Recipe) -> WindowsRecord | None:
    windows = recipe.windows
    if windows.count == 1:
        return None
    return WindowsRecord(count=windows.count, overlap=windows.overlap, pooling=windows.pooling)


def _copies_record(recipe: Recipe) -> CopiesRecord | None:
    evaluation = recipe.evaluation
    if not evaluation.augmented_copies:
        return None
    return CopiesRecord(
        count=evaluation.augmented_copies,
        operations=evaluation.augmented_operations,
        strength=evaluation.augmented_strength,
    )


def draft_manifest(
    recipe: Recipe,
    files: BackboneFiles,
    *,
    plan: Plan,
    architecture: Architecture,
    labels: tuple[str, ...],
    decision: Decision,
    environment: dict[str, Any],
) -> Manifest:
    """The manifest of a trained classifier, before it is judged and its files are written."""
    return Manifest(
        labels=labels,
        problem=decision.problem,
        backbone=backbone_record(
            recipe.backbone.name,
            files,
            architecture,
            revision=recipe.backbone.revision,
            precision=recipe.backbone.precision,
            attention=recipe.backbone.attention,
        ),
        adapters=AdapterRecord(kind=recipe.adapters.kind),
        head=HeadRecord(kind=recipe.head.kind, pooling=pooling_of(recipe), rank=recipe.head.rank),
        text=_text_record(recipe),
        temperature=decision.temperature,
        thresholds=decision.thresholds,
        copies=_copies_record(recipe),
        batch_size=recipe.evaluation.batch_size,
        files={},
        plan=plan.as_dict(),
        metrics={},
        recipe=recipe.model_dump(mode="json"),
        environment=environment,
    )
