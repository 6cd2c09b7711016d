"""What PEFT's files hold of a trained encoder, so that plain PEFT opens them."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pennyweight.model.adapters import CONFIG, adapter_state, second_state
from pennyweight.model.principal import counts_from_start, double_config, fast_layers
from pennyweight.model.pruned import is_pruned, kept_ranks


@dataclass(frozen=True)
class SavedAdapter:
    """One adapter, as it is saved."""

    tensors: Mapping[str, Tensor]
    """Contents of ``adapter_model.safetensors``: contiguous CPU tensors by PEFT's names."""
    config: str
    """Contents of ``adapter_config.json``."""


def first_adapter(encoder: Any, *, base_model: str) -> SavedAdapter:
    """The adapter that a PeftModel is built of; of two kinds, the first. With it goes the stock head."""
    config = encoder.peft_config["default"]
    if is_pruned(encoder):
        config.rank_pattern = kept_ranks(encoder)  # by which PEFT leaves out what was pruned
    tensors = adapter_state(encoder)
    config = copy.deepcopy(config)
    if counts_from_start(encoder):
        tensors.update(_doubled(encoder))
        double_config(config)
    targets = None if config.is_prompt_learning else sorted(encoder.base_model.targeted_module_names)
    return saved_adapter(tensors, config, targets=targets, base_model=base_model)


def second_adapter(encoder: Any, *, base_model: str) -> SavedAdapter | None:
    """The second of two kinds, as if it stood alone on the backbone; none where there is one."""
    if not hasattr(encoder, "second_config"):
        return None
    config = copy.deepcopy(encoder.second_config)
    targets = None if config.is_prompt_learning else sorted(config.target_modules)
    return saved_adapter(second_state(encoder), config, targets=targets, base_model=base_model)


def _doubled(encoder: Any) -> dict[str, Tensor]:
    """By PEFT's names, pairs that count from a start as plain ones of twice the rank."""
    tensors = {}
    for path, layer in fast_layers(encoder).items():
        tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"] = layer.factors("default")
    return tensors


def saved_adapter(
    tensors: Mapping[str, Tensor], config: Any, *, targets: list[str] | None, base_model: str
) -> SavedAdapter:
    """Tensors with PEFT's configuration of them.

    Args:
        tensors: by PEFT's names.
        config: PEFT's; it is changed.
        targets: full names of the matrices; none where there are none.
        base_model: what the configuration names as its base.
    """
    config.base_model_name_or_path = base_model
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        content = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    if targets is not None:
        # PEFT shortens a long list of targets to endings such as ``dense``, which may mean more in a model that has
        # more modules; whole names mean the same everywhere.
        content["target_modules"] = targets
    if content.get("feedforward_modules"):
        content["feedforward_modules"] = sorted(content["feedforward_modules"])
    content["inference_mode"] = True
    with torch.no_grad():
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return SavedAdapter(plain, json.dumps(content, indent=2, sort_keys=True) + "\n")
