"""Architectures that were read off once and ship with the package: planning with these needs no torch.

A record stands in for `read_architecture` only where a configuration says the same as the one it was read from, to the
last key that could change a shape. ``tools/make_architectures.py`` writes the records, a test compares them with what
Transformers builds, and training always reads the real thing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pennyweight.budget.backbones import ALIASES
from pennyweight.budget.selectors import Matrix
from pennyweight.budget.shapes import WITHOUT_SHAPE, Architecture, read_architecture

# Where a configuration comes from, which no shape depends on.
_PROVENANCE = ("_name_or_path", "architectures", "transformers_version")
# What older releases of Transformers wrote out although it is the default.
_DEFAULTS = {"gradient_checkpointing": False, "position_embedding_type": "absolute", "use_cache": True}


def architecture_of(config: Mapping[str, Any], *, classes: int) -> Architecture:
    """The architecture of a configuration: from the package's records, else read off the meta device.

    Args:
        config: the contents of config.json, with its ``model_type``.
        classes: number of labels, which the stock head's size depends on.

    Raises:
        InputError: as `read_architecture` does.
    """
    known = known_architecture(config, classes=classes)
    return read_architecture(config, classes=classes) if known is None else known


def known_architecture(config: Mapping[str, Any], *, classes: int) -> Architecture | None:
    """What the package's records say of a configuration; none where it is not among them."""
    digest = config_digest(config)
    for alias in ALIASES:
        file = resources.files("pennyweight.budget") / "architectures" / f"{alias}.json"
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["config_sha256"] == digest:
            return _from_record(record, classes=classes)
    return None


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration in canonical JSON, without the entries that no shape depends on."""
    telling = {
        key: value
        for key, value in config.items()
        if key not in (*WITHOUT_SHAPE, *_PROVENANCE) and (key not in _DEFAULTS or value != _DEFAULTS[key])
    }
    canonical = json.dumps(telling, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def to_record(config: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a configuration, read off the meta device, for every number of classes at once.

    Raises:
        InputError: as `read_architecture` does.
        ValueError: the stock head does not grow by the same number of parameters with every class.
    """
    two, three, many = (read_architecture(config, classes=classes) for classes in (2, 3, 1000))
    per_class = three.stock_head - two.stock_head
    record = {
        "config_sha256": config_digest(config),
        "model_type": two.model_type,
        "prefix": two.prefix,
        "hidden": two.hidden,
        "layers": two.layers,
        "repeats": two.repeats,
        "positions": two.positions,
        "total": two.total,
        "stock_head": {"fixed": two.stock_head - 2 * per_class, "per_class": per_class},
        "head_modules": list(two.head_modules),
        "matrices": [[matrix.name, matrix.fan_in, matrix.fan_out, matrix.layer] for matrix in two.matrices],
    }
    if [_from_record(record, classes=classes) for classes in (2, 3, 1000)] != [two, three, many]:
        raise ValueError(f"a {two.model_type} with {many.stock_head:,} parameters in its head does not fit a record")
    return record


def _from_record(record: Mapping[str, Any], *, classes: int) -> Architecture:
    head = record["stock_head"]
    return Architecture(
        model_type=record["model_type"],
        prefix=record["prefix"],
        hidden=record["hidden"],
        layers=record["layers"],
        matrices=tuple(
            Matrix(name=name, fan_in=fan_in, fan_out=fan_out, layer=layer)
            for name, fan_in, fan_out, layer in record["matrices"]
        ),
        stock_head=head["fixed"] + head["per_class"] * classes,
        head_modules=tuple(record["head_modules"]),
        total=record["total"],
        repeats=record["repeats"],
        positions=record["positions"],
    )
