"""Merges the adapters of several classifiers into one, and their heads where they have the same labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pennyweight.budget.allot import head_parameters
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture, read_architecture
from pennyweight.classifier import save_parts
from pennyweight.environment import git_state, versions
from pennyweight.errors import InputError
from pennyweight.manifest import (
    ADAPTERS,
    HEAD,
    BackboneRecord,
    HeadRecord,
    Manifest,
    read_manifest,
    require_unaltered,
)
from pennyweight.model.adapters import read_tensors
from pennyweight.model.backbone import BackboneFiles, find_backbone
from pennyweight.model.kinds import AdapterOptions, Place, pair_config
from pennyweight.model.merging import PRUNING, Adapter, Method, merge_adapters
from pennyweight.model.saving import saved_adapter
from pennyweight.pipeline.combining.published import FACTORS, INSIDE, output_shapes, read_adapter
from pennyweight.pipeline.counting import count_existing
from pennyweight.pipeline.folder import check_folder


@dataclass(frozen=True)
class Member:
    """One classifier that is merged."""

    folder: Path
    manifest: Manifest
    adapter: Adapter
    head: Mapping[str, Tensor]
    """Tensors of its head, by their names in the task model or in ``head.safetensors``."""


@dataclass(frozen=True)
class Blend:
    """How classifiers are merged, in plain values; see `pennyweight.model.merging.merge_adapters`."""

    method: Method = "linear"
    weights: tuple[float, ...] | None = None
    """Of each classifier; none: the same for all. They are divided by their sum."""
    density: float = 0.5
    rank: int | None = None
    seed: int = 0


def blend_of(
    method: Method, *, weights: tuple[float, ...] | None, density: float | None, rank: int | None, seed: int
) -> Blend:
    """How classifiers are merged, checked; raises InputError at what has no meaning together."""
    if density is not None and method not in PRUNING:
        raise InputError(f"--density has no meaning with --method {method}: leave it out")
    if density is not None and not 0 < density <= 1:
        raise InputError(f"--density {density}: give a share above 0 and at most 1")
    if rank is not None and method != "svd":
        raise InputError(f"--rank goes with --method svd, and only with it; {method} has the rank that follows")
    return Blend(method, weights, 0.5 if density is None else density, rank, seed)


def merge_classifiers(folders: Sequence[Path], out: Path, blend: Blend, *, backbone: str | None = None) -> list[Path]:
    """Merge classifiers on one backbone.

    Where they have the same labels, ``out`` becomes one classifier whose head is the weighted mean of theirs, label by
    label. Where they have not, each gets a folder inside ``out``, with its own head upon the adapter that all share.
    Texts are read as the first, or each, reads them.

    Args:
        folders: the classifiers.
        out: new or empty folder.
        blend: how.
        backbone: where the backbone now lives, if not where it was at training.

    Returns:
        The classifier folders written: one, or as many as were given, in their order.

    Raises:
        InputError: other backbones, weights that do not fit, adapters that are not plain LoRA or have different ranks,
            heads of different kinds upon the same labels, or ``out`` not empty.
        RunError: a file cannot be written.
    """
    check_folder(out, resume=False)
    manifests = [read_manifest(folder) for folder in folders]
    weights, record = _weights(blend, count=len(folders)), manifests[0].backbone
    for folder, manifest in zip(folders, manifests, strict=True):
        _require_mergeable(folder, manifest, record)
    files = find_backbone(str(backbone or record.name), revision=None if backbone else record.revision)
    members = [_read(folder, manifest, files) for folder, manifest in zip(folders, manifests, strict=True)]
    merged = merge_adapters(
        files.config,
        [member.adapter for member in members],
        weights,
        method=blend.method,
        density=blend.density,
        rank=blend.rank,
        seed=blend.seed,
    )
    origin = {
        **vars(blend),
        "weights": weights,
        "density": blend.density if blend.method in PRUNING else None,
        "of": [folder.resolve().name for folder in folders],
    }
    if len({frozenset(manifest.labels) for manifest in manifests}) == 1:
        _write(out, _together(members, weights, files), merged, files, origin)
        return [out]
    targets = [out / name for name in _names(folders)]
    for target, member in zip(targets, members, strict=True):
        _write(target, member, merged, files, origin)
    return targets


def _require_mergeable(folder: Path, manifest: Manifest, first: BackboneRecord) -> None:
    """Raises InputError where a classifier was altered, or is of a kind or on a backbone that cannot be merged."""
    require_unaltered(folder, manifest)
    if manifest.adapters.kind != "lora":
        raise InputError(
            f"{folder}: its adapters are of kind {manifest.adapters.kind}, and only lora can be merged; combine such "
            f"classifiers with `pennyweight ensemble`"
        )
    if manifest.text.windows is not None and manifest.text.windows.pooling == "attention":
        raise InputError(
            f"{folder}: weighs the windows of a text by a query of its own, which cannot be merged; combine such "
            f"classifiers with `pennyweight ensemble`"
        )
    if manifest.backbone.weights_sha256 != first.weights_sha256:
        raise InputError(
            f"{folder}: its backbone {manifest.backbone.name} is not {first.name}, that of the first; only adapters of "
            f"one backbone can be merged: combine others with `pennyweight ensemble`"
        )


def _weights(blend: Blend, *, count: int) -> list[float]:
    given = blend.weights or (1.0,) * count
    if len(given) != count:
        raise InputError(f"--weights: {len(given)} are given for {count} classifiers; give one for each")
    if min(given) < 0 or not 0 < sum(given) < float("inf"):
        raise InputError("--weights: give finite numbers of 0 or more that are not all 0")
    return [weight / sum(given) for weight in given]


def _names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else f"{place}-{name}" for place, name in enumerate(names)]


def _read(folder: Path, manifest: Manifest, files: BackboneFiles) -> Member:
    """A classifier's adapter and head, out of its files."""
    published = read_adapter(folder)
    architecture = read_architecture(files.config, classes=len(manifest.labels))
    prefix = f"{architecture.prefix}." if manifest.head.kind == "stock" else ""
    planned = published.planned(architecture, prefix=prefix)
    tensors = {name.removeprefix(INSIDE): tensor for name, tensor in read_tensors(folder / ADAPTERS).items()}
    down, up = FACTORS
    factors = {
        matrix.name: (tensors[f"{prefix}{matrix.name}{down}"], tensors[f"{prefix}{matrix.name}{up}"])
        for matrix in planned
    }
    own = manifest.head.kind == "stock"
    head = {name: tensors[name] for name in published.head} if own else read_tensors(folder / HEAD)
    return Member(folder, manifest, Adapter(planned, factors), head)


def _together(members: Sequence[Member], weights: Sequence[float], files: BackboneFiles) -> Member:
    """The first member with the weighted mean of all heads, temperatures and thresholds."""
    first = members[0].manifest
    for member in members:
        record = member.manifest.head
        if member.manifest.problem != first.problem:
            raise InputError(
                f"{member.folder}: one gives a text one class and the other several labels, of this and "
                f"{members[0].folder}; heads are merged of one kind alone"
            )
        if (record.kind == "stock", record.pooling) != (first.head.kind == "stock", first.head.pooling):
            raise InputError(
                f"{member.folder}: its head or pooling is of another kind than that of {members[0].folder}; heads upon "
                f"the same labels are merged, which takes the same kind: combine them with `pennyweight ensemble`"
            )
    by_class = output_shapes(files.config)[1] if first.head.kind == "stock" else ["out.weight", "out.bias"]
    heads = [_dense(member.head) for member in members]
    orders = [[member.manifest.labels.index(label) for label in first.labels] for member in members]
    mean: dict[str, Tensor] = {}
    for weight, order, head in zip(weights, orders, heads, strict=True):
        for name, tensor in head.items():
            own = tensor[order] if name in by_class else tensor
            mean[name] = mean.get(name, torch.zeros_like(own)) + weight * own
    manifest = first.model_copy(
        update={
            "temperature": float(np.average([member.manifest.temperature for member in members], weights=weights)),
            "thresholds": _mean_thresholds(members, orders, weights),
            "head": first.head
            if first.head.kind == "stock"
            else HeadRecord(kind="linear", pooling=first.head.pooling, rank=None),
        }
    )
    return replace(members[0], manifest=manifest, head=mean)


def _mean_thresholds(
    members: Sequence[Member], orders: Sequence[Sequence[int]], weights: Sequence[float]
) -> tuple[float, ...] | None:
    """Of each label in the first member's order; none where texts have one class."""
    given = [member.manifest.thresholds for member in members]
    own = [[one[place] for place in order] for one, order in zip(given, orders, strict=True) if one is not None]
    return tuple(np.average(own, axis=0, weights=weights).tolist()) if own else None


def _dense(head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A head's tensors; those of a low-rank head multiplied out, since a mean of factors is no mean of products."""
    if "down.weight" not in head:
        return dict(head)
    return {"out.weight": head["out.weight"] @ head["down.weight"], "out.bias": head["out.bias"]}


def _write(out: Path, member: Member, merged: Adapter, files: BackboneFiles, origin: Mapping[str, Any]) -> None:
    """One classifier folder: a head, upon the merged adapter."""
    manifest = member.manifest
    stock = manifest.head.kind == "stock"
    architecture = read_architecture(files.config, classes=len(manifest.labels))
    prefix = f"{architecture.prefix}." if stock else ""
    down, up = FACTORS
    tensors = {
        f"{INSIDE}{prefix}{name}{factor}": tensor.contiguous()
        for name, pair in merged.factors.items()
        for factor, tensor in zip((down, up), pair, strict=True)
    }
    head = {name: tensor.contiguous() for name, tensor in member.head.items()}
    if stock:
        tensors |= {f"{INSIDE}{name}": tensor for name, tensor in head.items()}
    place = Place(architecture.prefix, architecture.head_modules) if stock else Place()
    base = manifest.backbone.hub_id or manifest.backbone.name
    complete = manifest.model_copy(
        update={
            "plan": _plan(manifest, merged, architecture).as_dict(),
            "metrics": {},
            "recipe": {},
            "environment": {"versions": versions(), "git": git_state(), "merged": dict(origin)},
            "int8": None,
        }
    )
    targets = sorted(place.name(matrix) for matrix in merged.planned)
    config = pair_config(merged.planned, place, AdapterOptions())
    saved = saved_adapter(tensors, config, targets=targets, base_model=base)
    save_parts(out, complete, adapters={"": saved}, head={} if stock else head)


def _plan(manifest: Manifest, merged: Adapter, architecture: Architecture) -> Plan:
    """What is in a merged classifier."""
    record = manifest.head
    head = head_parameters(
        record.kind,
        hidden=architecture.hidden,
        classes=len(manifest.labels),
        rank=record.rank,
        stock=architecture.stock_head,
    )
    name, length = manifest.plan["backbone"], manifest.text.max_length
    return count_existing(name, merged.planned, architecture, head=head, length=length)
