"""Adapters placed, saved and loaded through PEFT, exactly as a plan says."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.errors import InputError, RunError
from pennyweight.model.lora import FastLinear


def place_adapters(
    model: Any, planned: Sequence[PlannedMatrix], *, dropout: float, prefix: str, head_modules: Sequence[str]
) -> Any:
    """Put LoRA pairs on the planned matrices (PEFT's initialisation: A uniform, B zero).

    Args:
        model: a frozen Transformers model.
        planned: matrices with rank and alpha, named within the base model.
        dropout: probability on the adapter path.
        prefix: name of the base model inside ``model``; empty where ``model`` is the bare encoder.
        head_modules: top-level modules of the stock head, trained and saved whole by PEFT.

    Returns:
        A PeftModel in which the adapters and the stock head, in fp32, are all that requires a gradient.
    """
    from peft import LoraConfig, TaskType

    rank = Counter(matrix.rank for matrix in planned).most_common(1)[0][0]
    alpha = Counter(matrix.alpha for matrix in planned).most_common(1)[0][0]
    names = {matrix.name: f"{prefix}.{matrix.name}" if prefix else matrix.name for matrix in planned}
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS if head_modules else TaskType.FEATURE_EXTRACTION,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=sorted(names.values()),
        rank_pattern={names[matrix.name]: matrix.rank for matrix in planned if matrix.rank != rank},
        alpha_pattern={names[matrix.name]: matrix.alpha for matrix in planned if matrix.alpha != alpha},
        modules_to_save=list(head_modules) or None,
        bias="none",
    )
    return _placed(model, config)


def open_adapters(model: Any, folder: Path) -> Any:
    """Put the adapters of a saved folder on a frozen model, ready to predict.

    Raises:
        InputError: the files are missing, damaged, or made for matrices of another shape.
    """
    from peft import PeftConfig, set_peft_model_state_dict

    path = folder / "adapter_config.json"
    if not path.is_file():  # PEFT would take the folder for the name of a repository, and ask the Hub for it
        raise InputError(f"{path}: missing; the folder is not complete, restore it from a copy")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        placed = _placed(model, config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{folder}: its adapters cannot be opened: {reason}") from None
    tensors = read_tensors(folder / "adapter_model.safetensors")
    require_same_shapes(tensors, adapter_state(placed), folder / "adapter_model.safetensors")
    set_peft_model_state_dict(placed, tensors)
    return placed.requires_grad_(False)


def adapter_state(placed: Any) -> dict[str, Tensor]:
    """What PEFT saves of a model: adapter tensors, and the stock head's where it has one, by PEFT's names."""
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(placed))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises InputError where it is missing, truncated or otherwise damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; the folder is not complete") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged ({error}); restore it from a copy") from None


def require_planned_count(model: nn.Module, planned: int) -> None:
    """Raises RunError unless exactly ``planned`` parameters of ``model`` require a gradient."""
    built = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if built != planned:
        raise RunError(
            f"the built model has {built:,} trainable parameters but the plan says {planned:,}; please report this"
        )


def require_same_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raises InputError unless the tensors read from ``path`` have the names and shapes of those expected."""
    if tensors.keys() != expected.keys():
        odd = sorted(tensors.keys() ^ expected.keys())[0]
        raise InputError(
            f"{path}: its tensors are not those of this backbone and configuration (first difference: {odd})"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{path}: {name} has shape {list(tensor.shape)}, this backbone needs {list(expected[name].shape)}: "
                f"it was made for a backbone of another width"
            )


def _placed(model: Any, config: Any) -> Any:
    """PEFT's model, with what is or was trained in fp32, whatever the format of the frozen parameters."""
    from peft import get_peft_model

    config._register_custom_module({nn.Linear: FastLinear})  # what PEFT offers for layers of one's own
    config.base_model_name_or_path = model.name_or_path
    with warnings.catch_warnings():
        # PEFT asks Transformers by the old name of a property; nothing a user could act on.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        placed = get_peft_model(model, config)
    for name, parameter in placed.named_parameters():
        # By name: of a configuration saved for inference nothing requires a gradient.
        if parameter.requires_grad or ".lora_" in name or ".modules_to_save." in name:
            parameter.data = parameter.data.to(torch.float32)
    return placed
