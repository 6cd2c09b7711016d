"""The frozen encoder in 4 bits: NF4 with double quantisation, computed in the compute format (QLoRA).

Source: Dettmers et al. 2023, "QLoRA: Efficient finetuning of quantized LLMs", arXiv 2305.14314, by bitsandbytes. Every
64 elements of a matrix share a scale (32 where its rows are no multiple of 64; where they are none of 32 either, the
matrix stays dense), and the scales are kept in 8 bits. The pooler and whatever head stands on the
encoder stay as they are; embeddings are kept in bf16.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pennyweight.budget.memory import nf4_block
from pennyweight.errors import InputError
from pennyweight.model.device import Machine
from pennyweight.model.matrices import linears
from pennyweight.startup import import_bitsandbytes

DEVICES = ("cpu", "cuda", "xpu")
"""Kinds of devices that bitsandbytes computes on."""


def bitsandbytes_for(what: str, device: torch.device) -> Any:
    """The library bitsandbytes.

    Args:
        what: the setting that asks for it, as the user writes it.
        device: where it is to compute.

    Raises:
        InputError: it is not installed, or does not compute on this device.
    """
    if device.type not in DEVICES:
        raise InputError(f"{what}: bitsandbytes does not compute on {device.type}; choose another, or a CPU or CUDA")
    library = import_bitsandbytes()
    if library is None:
        raise InputError(f"{what}: needs bitsandbytes; install it with pip install 'pennyweight[4bit]'")
    return library


class HalfEmbedding(nn.Embedding):
    """An embedding kept in bf16, whose vectors leave in the compute format."""

    compute: torch.dtype

    @classmethod
    def of(cls, embedding: nn.Embedding, compute: torch.dtype) -> HalfEmbedding:
        """The same embedding, its vectors rounded."""
        weight = embedding.weight.detach().to(torch.bfloat16)
        made = cls(1, 1, device="meta")
        made.num_embeddings, made.embedding_dim = weight.shape
        made.padding_idx = embedding.padding_idx
        made.weight = nn.Parameter(weight, requires_grad=False)
        made.compute = compute
        return made

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[...] → [..., width], in the compute format."""
        return super().forward(input).to(self.compute)


def hold_in_four_bits(model: Any, machine: Machine) -> None:
    """Quantise the matrices of a Transformers model's encoder, in place, and round its embeddings to bf16.

    Args:
        model: loaded in fp32, so that the same bits come out on every machine.
        machine: where it will compute, and in what format.

    Raises:
        InputError: as `bitsandbytes_for`.
    """
    library = bitsandbytes_for("backbone.precision = nf4", machine.device)
    base = model.base_model
    for parent, name, linear in list(linears(base)):
        block = nf4_block(linear.in_features)
        if block is not None:
            setattr(parent, name, _quantised(library, linear, machine, block=block))
    for path, module in list(base.named_modules()):
        if type(module) is nn.Embedding:
            parent, _, name = path.rpartition(".")
            setattr(base.get_submodule(parent), name, HalfEmbedding.of(module, machine.dtype))
    for module in model.modules():
        if not isinstance(module, HalfEmbedding):
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.data = parameter.data.to(machine.dtype)
    model.is_loaded_in_4bit = True  # what PEFT asks before it takes its own layers for such matrices


def is_in_four_bits(model: Any) -> bool:
    """Whether `hold_in_four_bits` was there."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def copied_but_for_frozen(encoder: Any) -> Any:
    """A copy of an encoder in 4 bits in which what is frozen is one and the same as in the original."""
    kept: dict[int, Any] = {id(one): one for one in encoder.parameters() if not one.requires_grad}
    for module in encoder.modules():
        scales = getattr(module, "quant_state", None)
        if scales is not None:
            kept[id(scales)] = scales
    return copy.deepcopy(encoder, kept)


def _quantised(library: Any, linear: nn.Linear, machine: Machine, *, block: int) -> nn.Module:
    """A linear layer's matrix in NF4, on the machine's device."""
    bias = linear.bias is not None
    made = library.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=bias,
        compute_dtype=machine.dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    weight = library.nn.Params4bit(
        linear.weight.detach().float(),
        requires_grad=False,
        blocksize=block,
        compress_statistics=True,
        quant_type="nf4",
        module=made,
    )
    made.weight = weight.to(machine.device)
    if bias:
        made.bias = nn.Parameter(linear.bias.detach().to(machine.device, machine.dtype), requires_grad=False)
    # On CPUs with AVX512-BF16 the library would put the bits in another order once it predicts, and learning on
    # after a validation would read them wrongly.
    made.support_avx512bf16_for_cpu = False
    return made.train(linear.training)  # type: ignore[no-any-return]
