"""Which ranks AdaLoRA has left over: those whose entry of E is not zero.

Zhang et al. 2023, arXiv 2303.10512, prune a pair B diag(E) A by setting entries of E to zero. Whichever weights are
chosen in the end, those of the last step or of a better one before it, what is left follows from them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def is_pruned(placed: Any) -> bool:
    """Whether the pairs of a PeftModel are AdaLoRA's."""
    return str(placed.peft_config["default"].peft_type).endswith("ADALORA")


def kept_ranks(placed: Any) -> dict[str, list[bool]]:
    """Which ranks of each matrix are left, by the names that PEFT gives them in a saved configuration."""
    return {
        f"{name.removeprefix('base_model.model.')}.lora_E": _kept(module).tolist()
        for name, module in _pruned_layers(placed).items()
    }


def settle_ranks(placed: Any) -> None:
    """Take pruned ranks away, in place; other kinds are left alone."""
    for module in _pruned_layers(placed).values():
        kept = _kept(module)
        _set(module, "lora_A", module.lora_A["default"][kept])
        _set(module, "lora_E", module.lora_E["default"][kept])
        _set(module, "lora_B", module.lora_B["default"][:, kept])


def keep_exact(placed: Any, tensors: Mapping[str, Tensor]) -> None:
    """Put saved factors in as they are; PEFT, which makes room for what is left, rounds them to the format of W."""
    for path, module in _pruned_layers(placed).items():
        for factor in ("lora_A", "lora_E", "lora_B"):
            _set(module, factor, tensors[f"{path}.{factor}"])
        module.ranknum["default"].data = module.ranknum["default"].data.float()


def _kept(module: Any) -> Tensor:
    """Which ranks are left, bool [rank]; where none is, the first, which then says nothing: PEFT wants one."""
    kept: Tensor = module.lora_E["default"].detach().flatten() != 0
    if not kept.any():
        kept[0] = True
    return kept


def _set(module: Any, factor: str, tensor: Tensor) -> None:
    getattr(module, factor)["default"] = nn.Parameter(tensor.detach().clone(), requires_grad=False)


def _pruned_layers(placed: Any) -> dict[str, Any]:
    return {path: module for path, module in placed.named_modules() if "lora_E" in module._modules}
