"""Encoder matrices in int8 and their inputs quantised on the way, by PyTorch's oneDNN products, on CPUs with VNNI.

A weight has one scale per output, an input one scale and one zero point, taken from the values that stand in it
(dynamic quantisation). Inputs are unsigned, which is what VNNI multiplies signed weights with: signed ones make oneDNN
fall back to plain loops where there is no AMX, thousands of times slower. Products are summed in int32 and leave in the
compute format. Embeddings, LayerNorm, attention's own products, the pooler and the head stay as they are.
"""

from __future__ import annotations

import copy
import math
import weakref
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pennyweight.errors import InputError, RunError
from pennyweight.model.matrices import linears
from pennyweight.model.network import Network

ROWS = 512
"""Tokens that are taken at a time: what is made of them stays in the cache until it is used."""
SPAN = 253
"""Steps between the lowest and the highest value of an input: of 256, less by what rounding needs."""
HIGHEST = 127
"""Steps of a weight on either side of zero."""
TINY = 1e-30
"""Least range of values, so that none is divided by zero."""
VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
"""What a CPU may have to multiply int8 fast and without overflow, by PyTorch's names."""


class EightBits(NamedTuple):
    """An input in uint8: x ≈ scale · (values − zero)."""

    values: Tensor
    scale: float
    zero: int


class Int8Weights:
    """A matrix in int8, W ≈ scale · values with one scale per output, in oneDNN's own order, and its bias."""

    def __init__(self, linear: nn.Linear) -> None:
        """Quantise ``linear``, which is left as it is."""
        weight = linear.weight.detach().float()
        self._scales = weight.abs().amax(dim=1).clamp_min(TINY) / HIGHEST
        values = (weight / self._scales.unsqueeze(1)).round_().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(values, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = None if linear.bias is None else linear.bias.detach().float()

    def product(self, x: EightBits, dtype: torch.dtype, after: Literal["none", "gelu"] = "none") -> Tensor:
        """W x + b, and GELU of it where asked for: uint8 [n, in] → [n, out] in ``dtype``."""
        weights = (self._packed, self._scales, self._zeros, self._bias)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(*x, *weights, 1.0, 0, dtype, after, [], "none")
        return out


class Inputs:
    """Quantises inputs; matrices that have one input in common share one of these, and it is quantised once."""

    def __init__(self) -> None:
        """Begin with no input seen."""
        self._last: tuple[weakref.ref[Tensor], EightBits] | None = None

    def __call__(self, x: Tensor) -> EightBits:
        """[..., in] → uint8 [n, in]."""
        last = self._last  # looked at once: another thread may predict as well
        if last is not None and last[0]() is x:
            return last[1]
        result = eight_bits(x.reshape(-1, x.shape[-1]))
        self._last = weakref.ref(x, self._forget), result
        return result

    def _forget(self, _input: object) -> None:
        """The last input is gone, and what was made of it may go as well."""
        self._last = None


class Int8Linear(nn.Module):
    """A linear layer in int8."""

    def __init__(self, linear: nn.Linear, inputs: Inputs | None = None) -> None:
        """Quantise ``linear``; ``inputs`` is common to layers that have one input."""
        super().__init__()
        self._weights = Int8Weights(linear)
        self._inputs = inputs or Inputs()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] → [..., out], in the format of ``x``."""
        out = self._weights.product(self._inputs(x), x.dtype)
        return out.view(*x.shape[:-1], out.shape[-1])


class Int8FeedForward(nn.Module):
    """W₂ GELU(W₁ x + b₁) + b₂ in int8, a slice of tokens after the other: the wide part never leaves the cache."""

    def __init__(self, up: nn.Linear, down: nn.Linear) -> None:
        """Quantise both matrices."""
        super().__init__()
        self._up, self._down = Int8Weights(up), Int8Weights(down)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width], in the format of ``x``."""
        rows = x.reshape(-1, x.shape[-1])
        out = torch.empty_like(rows)
        for place in range(0, len(rows), ROWS):
            inner = self._up.product(eight_bits(rows[place : place + ROWS]), x.dtype, after="gelu")
            out[place : place + ROWS] = self._down.product(eight_bits(inner), x.dtype)
        return out.view(x.shape)


def eight_bits(rows: Tensor) -> EightBits:
    """Quantise an input, [n, in], over the range of its values and zero, which stays exactly zero.

    Raises:
        RunError: a value is not finite.
    """
    lowest, highest = (float(bound) for bound in torch.aminmax(rows))
    if not math.isfinite(highest - lowest):
        raise RunError("the network's values are not finite: its training has diverged; train it anew")
    low, high = min(lowest, 0.0), max(highest, 0.0)
    scale = max((high - low) / SPAN, TINY)
    zero = 1 + round(-low / scale)
    values = torch.empty(rows.shape, dtype=torch.uint8)
    for place in range(0, len(rows), ROWS):  # passes over a slice in the cache are twice as fast
        steps = (rows[place : place + ROWS] * (1 / scale)).round_()
        # bf16 has all whole numbers up to 256; by way of int16 they are converted four times as fast.
        values[place : place + ROWS] = steps.add_(zero).to(torch.int16)
    return EightBits(values, scale, zero)


def quantise(network: Network) -> Network:
    """A copy of a folded network whose encoder multiplies in int8; what is not quantised is one and the same in both.

    Args:
        network: what `pennyweight.model.folding.fold` made.

    Returns:
        A network for inference, which can be neither trained nor saved.

    Raises:
        InputError: the network is not on a CPU, or this CPU has no fast int8.
    """
    require_int8(network.machine.device)
    encoder = copy.deepcopy(network.encoder, {id(parameter): parameter for parameter in network.encoder.parameters()})
    base = encoder.base_model
    if network.stack is not None:
        for layer in base.encoder.layer:
            _share(layer.attention.self)
            if base.config.hidden_act == "gelu":
                layer.intermediate = Int8FeedForward(layer.intermediate.dense, layer.output.dense)
                layer.output.dense = nn.Identity()
    for parent, name, linear in list(linears(base)):
        setattr(parent, name, Int8Linear(linear))
    whole = Network(encoder, network.head, shape=network.shape, machine=network.machine, windows=network.windows)
    return whole.eval()


def is_quantised(network: Network) -> bool:
    """Whether `quantise` made it."""
    return any(isinstance(module, Int8Linear) for module in network.modules())


def require_int8(device: torch.device) -> None:
    """Raises InputError unless matrix products in int8 run on this device's own instructions."""
    if device.type != "cpu":
        raise InputError(f"int8 runs on the CPU, not on {device.type}: give cpu as the device, or another precision")
    abilities = torch.cpu.get_capabilities()
    if not (torch.backends.mkldnn.is_available() and any(map(abilities.get, VNNI))):  # type: ignore[no-untyped-call]
        raise InputError("int8 needs a CPU with VNNI or AMX, this one has neither: choose fp32 or bf16")


def _share(attention: Any) -> None:
    """Query, key and value of one layer, which have their input in common."""
    inputs = Inputs()
    for name in ("query", "key", "value"):
        setattr(attention, name, Int8Linear(getattr(attention, name), inputs))
