"""Makes a classifier folder out of a published PEFT adapter, which then predicts as PEFT alone would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.budget.backbones import read_config
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture, read_architecture
from pennyweight.environment import git_state, versions
from pennyweight.errors import InputError
from pennyweight.manifest import ADAPTERS, BackboneRecord, HeadRecord, Manifest, TextRecord, file_digest
from pennyweight.pipeline.combining.published import Published, classes_of, read_published, require_labels
from pennyweight.pipeline.counting import count_existing
from pennyweight.pipeline.folder import check_folder

LONGEST = 512
"""Tokens of a text that are read at most, where nothing else is said."""


@dataclass(frozen=True)
class Described:
    """What is known of a published adapter without its backbone's weights."""

    published: Published
    backbone: str
    architecture: Architecture
    classes: int
    plan: Plan
    """Its matrices and head, counted as a recipe's are; its budget is what it has."""

    def as_dict(self) -> dict[str, Any]:
        """What ``adopt --dry-run --json`` prints."""
        return {"adapter": str(self.published.folder), "classes": self.classes, **self.plan.as_dict()}


def describe_adapter(folder: Path, *, backbone: str | None = None, max_length: int = LONGEST) -> Described:
    """Read a published adapter and count what is in it; of its backbone, the configuration alone is needed.

    Args:
        folder: a PEFT adapter's: ``adapter_config.json`` and ``adapter_model.safetensors``.
        backbone: alias, Hub id or folder, if not what the adapter names.
        max_length: tokens of a text, which the counted work depends on.

    Raises:
        InputError: as `read_published`; an unknown backbone, or one that the adapter does not fit.
        RunError: the Hub cannot be reached for a backbone's configuration.
    """
    published = read_published(folder)
    name = backbone or published.base
    if not name:
        raise InputError(f"{folder}: names no backbone; give it (--backbone)")
    config = read_config(name)
    classes = classes_of(published, config)
    if classes < 2:
        raise InputError(f"{folder}: its head has {classes} output; a classifier has two or more")
    architecture = read_architecture(config, classes=classes)
    plan = count_existing(
        name,
        published.planned(architecture, prefix=f"{architecture.prefix}."),
        architecture,
        head=architecture.stock_head,
        length=min(max_length, architecture.positions or max_length),
    )
    return Described(published, name, architecture, classes, plan)


def adopt(
    folder: Path,
    out: Path,
    *,
    labels: Sequence[str],
    backbone: str | None = None,
    max_length: int = LONGEST,
    columns: tuple[str, ...] = ("text",),
    label_column: str = "label",
    add_prefix_space: bool = False,
) -> Described:
    """Write a published adapter as a classifier folder.

    Args:
        folder: the adapter's.
        out: new or empty folder.
        labels: label names in the order of training.
        backbone: alias, Hub id or folder, if not what the adapter names.
        max_length: tokens of a text that are read; a backbone that takes fewer gets fewer.
        columns: text columns that it reads from data, where nothing else is said.
        label_column: label column, likewise.
        add_prefix_space: its texts were tokenised as if a space stood before them.

    Raises:
        InputError: as `describe_adapter`; labels that do not fit the head; weights of the backbone or the adapter that
            are missing or do not fit; ``out`` not empty.
        RunError: the Hub cannot be reached, or a file cannot be written.
    """
    from pennyweight.classifier import save_classifier

    check_folder(out, resume=False)
    described = describe_adapter(folder, backbone=backbone, max_length=max_length)
    require_labels(described.published, labels, classes=described.classes)
    text = TextRecord(
        columns=columns,
        label_column=label_column,
        first_label=0,
        cleaning=(),
        max_length=described.plan.work.length,
        add_prefix_space=add_prefix_space,
    )
    network, record = _built(described)
    save_classifier(out, network, _manifest(described, labels=labels, backbone=record, text=text))
    return described


def _manifest(described: Described, *, labels: Sequence[str], backbone: BackboneRecord, text: TextRecord) -> Manifest:
    folder = described.published.folder
    return Manifest(
        labels=tuple(labels),
        backbone=backbone,
        head=HeadRecord(kind="stock", pooling=None, rank=None),
        text=text,
        temperature=1.0,
        batch_size=64,
        files={},
        plan=described.plan.as_dict(),
        metrics={},
        recipe={},
        environment={
            "versions": versions(),
            "git": git_state(),
            "adopted": {"name": folder.resolve().name, "sha256": file_digest(folder / ADAPTERS)},
        },
    )


def _built(described: Described) -> tuple[Any, BackboneRecord]:
    """The network with the adapter's tensors in it, and what identifies its backbone."""
    import torch
    from peft import set_peft_model_state_dict

    from pennyweight.model.adapters import adapter_state, read_tensors, require_planned_count, require_same_shapes
    from pennyweight.model.attention import has_fused_attention
    from pennyweight.model.backbone import find_backbone
    from pennyweight.model.device import choose_machine
    from pennyweight.model.kinds import AdapterOptions
    from pennyweight.model.network import HeadShape, build_network
    from pennyweight.pipeline.unpacking import backbone_record

    files = find_backbone(described.backbone)
    network = build_network(
        files,
        choose_machine(
            precision="fp32",
            attention="auto",
            device=torch.device("cpu"),
            packable=False,
            fusable=has_fused_attention(described.architecture.model_type),
        ),
        architecture=described.architecture,
        planned=described.plan.matrices,
        head=HeadShape(kind="stock", classes=described.classes),
        adapters=AdapterOptions(),
        keep_dropout=False,
    )
    require_planned_count(network, described.plan.trainable)
    path = described.published.folder / ADAPTERS
    tensors = read_tensors(path)
    require_same_shapes(tensors, adapter_state(network.encoder), path)
    broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if broken is not None:
        raise InputError(f"{path}: {broken} holds values that are not finite; the adapter's training had diverged")
    set_peft_model_state_dict(network.encoder, tensors)
    return network, backbone_record(described.backbone, files, described.architecture)
