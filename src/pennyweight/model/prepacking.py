"""Frozen matrices kept, besides, in the order in which oneDNN multiplies them, so that no product orders them anew."""

from __future__ import annotations

import functools
from typing import Any, Self

import torch
from torch import Tensor, nn


class PrepackedLinear(nn.Linear):
    """A linear layer whose weight, while it is frozen bf16 on a CPU, is ordered once for each direction.

    What is ordered is a copy, made when it is first needed; parameters and saved files are those of `nn.Linear`.
    """

    _forth: Tensor | None = None
    _back: Tensor | None = None
    _made_of: tuple[int, int] | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """A layer with the very parameters of ``linear``."""
        made = cls(1, 1, bias=False, device="meta")
        made.in_features, made.out_features = linear.in_features, linear.out_features
        made.weight, made.bias = linear.weight, linear.bias
        return made.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] → [..., out]."""
        if not self.orders or x.dtype is not self.weight.dtype:
            return super().forward(x)
        if not (x.requires_grad and torch.is_grad_enabled()):
            return self.product(x)
        product: Tensor = FrozenProduct.apply(x, self)  # type: ignore[no-untyped-call]
        return product

    @property
    def orders(self) -> bool:
        """Whether this weight, as it is now, is one that is kept in oneDNN's order."""
        weight = self.weight
        return can_order(weight) and not weight.requires_grad

    def product(self, x: Tensor) -> Tensor:
        """W x + b, [..., in] → [..., out]; only where `orders`."""
        self._forget_another()
        ordered = self._forth  # looked at once: another thread may order or forget as well
        if ordered is None:
            ordered = self._forth = _ordered(self.weight)
        return _multiply(x, ordered, self.bias)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """The gradient of x, gradient · W, [..., out] → [..., in]; only where `orders`."""
        self._forget_another()
        ordered = self._back
        if ordered is None:
            ordered = self._back = _ordered(self.weight.t())
        return _multiply(gradient, ordered, None)

    def forget(self) -> None:
        """Drop what was ordered: the weight has changed in a way that leaves no trace, as through ``.data``."""
        self._forth = self._back = self._made_of = None

    def _forget_another(self) -> None:
        """Drop what was ordered of a weight that has since been replaced or changed in place."""
        now = self.weight.data_ptr(), self.weight._version
        if now != self._made_of:
            self.forget()
            self._made_of = now

    def __getstate__(self) -> dict[str, Any]:
        """A copy orders its own weight: what is ordered can be neither copied nor pickled."""
        return {**self.__dict__, "_forth": None, "_back": None, "_made_of": None}


class FrozenProduct(torch.autograd.Function):
    """W x + b of a `PrepackedLinear`, and the gradient of x; W and b have none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: PrepackedLinear) -> Tensor:
        """[..., in] → [..., out]."""
        ctx.linear = linear
        return linear.product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """[..., out] → [..., in]."""
        return ctx.linear.pull_back(gradients[0]), None


def prepack(model: nn.Module) -> None:
    """Make every frozen linear layer of ``model`` that may gain by it a `PrepackedLinear`, in place."""
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and can_order(module.weight) and not module.weight.requires_grad:
            above, _, name = path.rpartition(".")
            parent = model.get_submodule(above)
            if "lora_E" not in parent._modules:  # to whose product PEFT adds AdaLoRA's in place, which autograd forbids
                setattr(parent, name, PrepackedLinear.of(module))


def forward_product(linear: nn.Linear, rows: Tensor) -> Tensor:
    """W x + b of a frozen layer, [n, in] → [n, out], no gradient recorded."""
    if isinstance(linear, PrepackedLinear) and linear.orders:
        return linear.product(rows)
    weight = linear.weight
    return rows @ weight.t() if linear.bias is None else torch.addmm(linear.bias, rows, weight.t())


def backward_product(linear: nn.Linear, gradient: Tensor) -> Tensor:
    """The gradient of a frozen layer's input, [n, out] → [n, in]."""
    if isinstance(linear, PrepackedLinear) and linear.orders:
        return linear.pull_back(gradient)
    return gradient @ linear.weight


def can_order(weight: Tensor) -> bool:
    """Whether oneDNN multiplies such a weight on this machine's own instructions."""
    plain = weight.dtype is torch.bfloat16 and weight.device.type == "cpu" and not weight.is_inference()
    return plain and _has_products()


@functools.cache
def _has_products() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # type: ignore[no-untyped-call]


def _ordered(weight: Tensor) -> Tensor:
    ordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
    return ordered


def _multiply(x: Tensor, ordered: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, ordered, bias, "none", [], "")
    return out
