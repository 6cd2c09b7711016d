"""Adapters placed, saved and loaded through PEFT, exactly as a plan says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.errors import InputError, RunError
from pennyweight.model.four_bits import is_in_four_bits
from pennyweight.model.kinds import SECOND, AdapterOptions, Place, pair_config, prompt_config, vector_config
from pennyweight.model.lora import FastLinear
from pennyweight.model.principal import begin_with_principal
from pennyweight.model.pruned import keep_exact

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_TRAINED = (".lora_", ".ranknum.", ".ia3_l.", ".modules_to_save.", "prompt_encoder.")
"""What the name of a trained parameter has in it."""


def place_adapters(
    model: Any, planned: Sequence[PlannedMatrix], *, place: Place, options: AdapterOptions | None = None
) -> Any:
    """Put adapters on the planned matrices, and a prompt before the texts, as PEFT initialises them.

    Of two kinds, scaling vectors stand next to the matrix and a pair of factors beside both: s ∘ (W x) + B A x.

    Args:
        model: a frozen Transformers model.
        planned: matrices with their kind, rank and alpha, named within the base model.
        place: where in ``model``.
        options: what the matrices do not say; none: plain LoRA without dropout.

    Returns:
        A PeftModel in which the adapters and the stock head, in fp32, are all that requires a gradient.
    """
    options = options or AdapterOptions()
    pairs = [matrix for matrix in planned if matrix.kind != "ia3"]
    vectors = [matrix for matrix in planned if matrix.kind == "ia3"]
    inner = Place(place.prefix)  # the stock head belongs to the first kind alone
    if not pairs:
        config = vector_config(vectors, place) if vectors else prompt_config(options.prompt_length, model.config, place)
        return _in_fp32(_placed(model, config))
    second = None
    if vectors:
        second = _inject(model, vector_config(vectors, inner))
    placed = _placed(model, pair_config(pairs, place, options))
    if options.prompt_length:
        second = prompt_config(options.prompt_length, model.config, inner)
        _attach_prompt(placed, second)
    if second is not None:
        placed.second_config = second
    for name, parameter in placed.named_parameters():
        if ".ia3_l." in name or "prompt_encoder." in name:
            parameter.requires_grad_(True)
        if ".ranknum." in name:  # AdaLoRA's divisor, which PEFT leaves learning where the backbone is in bf16
            parameter.requires_grad_(False)
    if options.init == "pissa":
        begin_with_principal(placed)
    return _in_fp32(placed)


def open_adapters(model: Any, folder: Path, *, kind: str = "lora") -> Any:
    """Put the adapters of a saved folder on a frozen model, ready to predict.

    Args:
        model: a frozen Transformers model.
        folder: a classifier folder.
        kind: as the recipe named it; of two, the second is in a folder of its own.

    Raises:
        InputError: the files are missing, damaged, or made for matrices of another shape.
    """
    from peft import set_peft_model_state_dict

    second = SECOND.get(kind)
    first, inner = _read_config(folder), None
    if second is not None:
        inner = _read_config(folder / second)
    try:
        if second == "ia3":
            _inject(model, inner)
        placed = _in_fp32(_placed(model, first))
        if second == "prompt":
            _attach_prompt(placed, inner)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{folder}: its adapters cannot be opened: {reason}") from None
    tensors = read_tensors(folder / TENSORS)
    require_same_shapes(tensors, adapter_state(placed), folder / TENSORS)
    set_peft_model_state_dict(placed, tensors)
    keep_exact(placed, tensors)
    if second is not None:
        placed.second_config = inner
        tensors = read_tensors(folder / second / TENSORS)
        own = second_state(placed)
        require_same_shapes(tensors, own, folder / second / TENSORS)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])
    return placed.requires_grad_(False)


def adapter_state(placed: Any) -> dict[str, Tensor]:
    """What PEFT saves of a model: adapter tensors, and the stock head's where it has one, by PEFT's names."""
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(placed))


def second_state(placed: Any) -> dict[str, Tensor]:
    """What PEFT would save of the second of two kinds, if it stood alone; the parameters themselves."""
    prompt = prompt_of(placed)
    if prompt is not None:
        return {"prompt_embeddings": prompt.embedding.weight}
    return {
        f"{name.removesuffix('.base_layer')}.ia3_l": module.ia3_l["default"]
        for name, module in placed.named_modules()
        if "ia3_l" in module._modules
    }


def prompt_of(encoder: Any) -> Any:
    """PEFT's module that holds the vectors before every text; none where there are none."""
    prompts = encoder._modules.get("prompt_encoder")
    return None if prompts is None else prompts["default"]


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
                f"it was made for a backbone of another width, or for another number of labels"
            )


def _read_config(folder: Path) -> Any:
    from peft import PeftConfig

    path = folder / CONFIG
    if not path.is_file():  # PEFT would take the folder for the name of a repository, and ask the Hub for it
        raise InputError(f"{path}: missing; the folder is not complete, restore it from a copy")
    try:
        return PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{folder}: its adapters cannot be opened: {reason}") from None


def _placed(model: Any, config: Any) -> Any:
    """PEFT's model."""
    from peft import LoraConfig, get_peft_model

    if type(config) is LoraConfig and not is_in_four_bits(model):  # for which PEFT has layers
        config._register_custom_module({nn.Linear: FastLinear})  # what PEFT offers for layers of one's own
    config.base_model_name_or_path = model.name_or_path
    with warnings.catch_warnings():
        # PEFT asks Transformers by the old name of a property; nothing a user could act on. Nor is there where it takes
        # what AdaLoRA has pruned, saved under the name of another thing, for ranks of matrices.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*with PEFT for a second time.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*rank_pattern keys did not match.*", category=RuntimeWarning)
        return get_peft_model(model, config)


def _inject(model: Any, config: Any) -> Any:
    """Put the layers of ``config`` into ``model`` without a PeftModel around it, which another kind will be."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config, model)
    del model.peft_config  # or the kind to come would be taken for a second adapter of this one
    return config


def _attach_prompt(placed: Any, config: Any) -> None:
    """Give a PeftModel a prompt where PEFT's own has it, so that both are found in one way."""
    from peft import PromptEmbedding

    words = placed.get_base_model().base_model.embeddings.word_embeddings
    placed.prompt_encoder = nn.ModuleDict({"default": PromptEmbedding(config, words)})


def _in_fp32(placed: Any) -> Any:
    """What is or was trained in fp32, whatever the format of the frozen parameters."""
    for name, parameter in placed.named_parameters():
        # By name: of a configuration saved for inference nothing requires a gradient.
        if parameter.requires_grad or any(part in name for part in _TRAINED):
            parameter.data = parameter.data.to(torch.float32)
    for module in placed.modules():
        for vectors in getattr(module, "lora_magnitude_vector", {}).values():
            weight = module.get_base_layer().weight  # lengths rounded to bf16 would change W from the start
            vectors.weight.data = torch.linalg.vector_norm(weight.float(), dim=1)
    return placed
