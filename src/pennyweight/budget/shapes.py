"""What an architecture offers to adapt, read off torch's meta device: no weight is read or allocated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennyweight.budget.selectors import Matrix
from pennyweight.errors import InputError

# Entries of a config.json that say nothing of its shapes; label names are the recipe's business.
WITHOUT_SHAPE = ("auto_map", "id2label", "label2id")


@dataclass(frozen=True)
class Architecture:
    """The shapes of one backbone with one number of classes."""

    model_type: str
    prefix: str
    """Name of the base model inside the task model, such as ``roberta``."""
    hidden: int
    layers: int
    matrices: tuple[Matrix, ...]
    """Every linear map of the encoder; the pooler, which feeds the stock head alone, is not among them."""
    stock_head: int
    """Parameters of the architecture's own classification head."""
    head_modules: tuple[str, ...]
    """Top-level names of that head's modules, as PEFT's ``modules_to_save`` wants them."""
    total: int
    """Parameters of the base model, all frozen."""
    repeats: int
    """How often each layer is passed through: 1, or more where layers share their weights (ALBERT)."""
    positions: int | None
    """Most tokens of one input; none where positions are relative and nothing limits it."""


def make_config(config: Mapping[str, Any], **changes: Any) -> Any:
    """A Transformers configuration object from the contents of a config.json; no remote code is ever run.

    Raises:
        InputError: Transformers does not know the model type.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    model_type = config["model_type"]
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise InputError(f"backbone of type {model_type!r}: Transformers does not know this architecture")
    known = {key: value for key, value in config.items() if key != "model_type" and key not in WITHOUT_SHAPE}
    try:
        return AutoConfig.for_model(model_type, **{**known, **changes})
    except Exception as error:  # whatever an architecture's own checks raise at a broken config.json
        raise InputError(f"backbone of type {model_type!r}: its config.json is not usable: {_reason(error)}") from error


def read_architecture(config: Mapping[str, Any], *, classes: int) -> Architecture:
    """Build the architecture on the meta device and read its shapes.

    Args:
        config: the contents of config.json, with its ``model_type``.
        classes: number of labels, which the stock head's size depends on.

    Raises:
        InputError: the architecture has no sequence-classification form in Transformers.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(make_config(config, num_labels=classes))
    except InputError:
        raise
    except Exception as error:  # no such form, or sizes in config.json that do not go together
        raise InputError(
            f"backbone of type {config['model_type']!r} cannot classify sequences: {_reason(error)}"
        ) from error
    base = model.base_model
    prefix = model.base_model_prefix
    matrices = tuple(
        Matrix(name=name, fan_in=module.in_features, fan_out=module.out_features, layer=layer_of(name))
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name.split(".")
    )
    head = {name: child for name, child in model.named_children() if name != prefix}
    layers = 1 + max((matrix.layer for matrix in matrices if matrix.layer is not None), default=-1)
    return Architecture(
        model_type=config["model_type"],
        prefix=prefix,
        hidden=model.config.hidden_size,
        layers=layers,
        matrices=matrices,
        stock_head=sum(parameter.numel() for child in head.values() for parameter in child.parameters()),
        head_modules=tuple(name for name, child in head.items() if any(True for _ in child.parameters())),
        total=sum(parameter.numel() for parameter in base.parameters()),
        repeats=_repeats(model.config, layers),
        positions=_positions(base),
    )


def _repeats(config: Any, layers: int) -> int:
    """How many of the layers that a configuration counts share one layer's weights."""
    counted = getattr(config, "num_hidden_layers", layers)
    return int(counted // layers) if layers and counted % layers == 0 else 1


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _positions(base: Any) -> int | None:
    """The length of the table of absolute positions; RoBERTa's kin begin to count behind the padding's number."""
    table = getattr(getattr(base, "embeddings", None), "position_embeddings", None)
    if table is None:
        return None
    first = 0 if table.padding_idx is None else table.padding_idx + 1
    return int(table.num_embeddings) - first


def layer_of(name: str) -> int | None:
    """The layer index in a dotted module name: its first whole-number part."""
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
    return int(found.group(1)) if found else None
