"""What this machine is good at: device, number format and attention, detected and never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from pennyweight.errors import InputError
from pennyweight.model.attention import has_packed_kernel

AttentionKind = Literal["plain", "packed", "sdpa", "eager"]


@dataclass(frozen=True)
class Machine:
    """Where and how the network computes."""

    device: torch.device
    dtype: torch.dtype
    """Format of frozen weights and matrix products; what is trained stays in fp32."""
    attention: AttentionKind
    """Plain matrix products, packed texts, PyTorch's fused attention, or Transformers' own."""
    four_bits: bool = False
    """Whether the encoder's frozen matrices are kept in 4 bits (NF4), to be computed in ``dtype``."""

    def line(self) -> str:
        """One line for the user, such as ``cpu, bf16, plain attention``."""
        dtype = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self.dtype]
        return f"{self.device.type}, {'nf4 in ' * self.four_bits}{dtype}, {self.attention} attention"


def choose_machine(
    *,
    precision: Literal["auto", "fp32", "bf16", "nf4"],
    attention: Literal["auto"] | AttentionKind,
    device: torch.device | None = None,
    packable: bool,
    fusable: bool = True,
) -> Machine:
    """Pick device, dtype and attention for this machine; a word other than ``auto`` is obeyed.

    On CPUs the fused attention kernel is the slower one in bf16, so plain matmul and softmax are taken there; CUDA has
    a kernel for packed texts in bf16, where PyTorch is new enough. Architectures that Transformers has no fused
    attention for compute it in their own way.

    Args:
        precision: number format; ``nf4``: frozen matrices in 4 bits, computed as ``auto``.
        attention: how attention is computed.
        device: where; none: the accelerator where there is one.
        packable: whether texts may be packed: the architecture is known layer by layer, and attention drops nothing.
        fusable: whether the architecture may compute attention otherwise than in its own way.

    Raises:
        InputError: packed attention is asked for where texts may not be packed, or where PyTorch lacks its kernel;
            plain or fused attention where Transformers has no choice.
    """
    device = device or best_device()
    if precision in ("auto", "nf4"):
        dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
    else:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if attention == "auto" and not fusable:
        chosen: AttentionKind = "eager"
    elif attention == "auto":
        fast: dict[str, Literal["plain", "packed"]] = {"cpu": "plain", "cuda": "packed"}
        chosen = fast.get(device.type, "sdpa") if dtype is torch.bfloat16 else "sdpa"
        if chosen == "packed" and not (packable and has_packed_kernel() and fast_bf16(device)):
            chosen = "sdpa"
    else:
        chosen = attention
        if chosen == "packed":
            _require_packing(device, dtype, packable=packable)
        if chosen in ("plain", "sdpa") and not fusable:
            raise InputError(
                f"backbone.attention = {chosen}: this architecture computes attention in a way of its own; say auto"
            )
    return Machine(device=device, dtype=dtype, attention=chosen, four_bits=precision == "nf4")


def _require_packing(device: torch.device, dtype: torch.dtype, *, packable: bool) -> None:
    if not packable:
        raise InputError(
            "backbone.attention = packed: texts are packed for architectures built as BERT is, with backbone.dropout "
            "off; say auto"
        )
    if device.type == "cuda" and dtype is torch.bfloat16 and not has_packed_kernel():
        raise InputError(
            f"backbone.attention = packed: PyTorch {torch.__version__} has no attention kernel for packed texts whose "
            "scale can be chosen; install a newer one, or say auto"
        )


def named_device(name: str) -> torch.device:
    """The device of that name, such as ``cpu`` or ``cuda:1``.

    Raises:
        InputError: no such device, or PyTorch does not see it on this machine.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError(f"device {name!r}: there is no such device; {_devices()}") from None
    best = best_device()
    if device.type != "cpu":
        count = torch.accelerator.device_count() if device.type == best.type else 0
        if (device.index or 0) >= count:
            raise InputError(f"device {name!r}: PyTorch does not see it on this machine; {_devices()}")
    return device


def best_device() -> torch.device:
    """The accelerator that PyTorch sees, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator if accelerator is not None else torch.device("cpu")


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products run on this device's own instructions (AVX512-BF16, AMX, CUDA from Ampere on)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        abilities = torch.cpu.get_capabilities()
        return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    return False


def has_matrix_unit() -> bool:
    """Whether this CPU has one for bf16 (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def peak_device_bytes(device: torch.device) -> int | None:
    """Most memory that tensors of this process took on a CUDA device at a time, in bytes; none elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _devices() -> str:
    best = best_device().type
    return "give cpu, or nothing at all" if best == "cpu" else f"give cpu or {best}, or nothing at all"
