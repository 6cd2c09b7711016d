"""The LoRA product, accumulated in place into the frozen one: a drop-in for PEFT's linear layer."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn

from pennyweight.model.prepacking import PrepackedLinear, backward_product, forward_product


class LoraProduct(torch.autograd.Function):
    """y = W x + b + scaling · B A dropout(x), and its gradients for x, A and B; W and b are frozen.

    PEFT makes the two terms separately and adds them, out of place, in both directions (Hu et al. 2021, arXiv
    2106.09685, is the method). Here the thin products accumulate into the wide ones. What is computed is the same; in
    bf16 the order of roundings differs.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: nn.Linear, down: Tensor, up: Tensor, scaling: float, dropout: float
    ) -> Tensor:
        """Compute y.

        Args:
            ctx: filled by autograd.
            x: input, [..., in], in the format of the base's weight.
            base: the frozen layer.
            down: A, [rank, in], in any format.
            up: B, [out, rank], in any format.
            scaling: factor of the adapter's term.
            dropout: probability of dropping an element of x on its way to A.

        Returns:
            [..., out], in the format of ``x``.
        """
        rows = x.reshape(-1, x.shape[-1])
        thin_down, thin_up = down.to(x.dtype), up.to(x.dtype)
        noise = None
        kept = rows
        if dropout > 0:  # the very draw of torch.nn.Dropout, so that a seed means the same with PEFT's own layer
            noise = torch.empty_like(x).bernoulli_(1 - dropout).div_(1 - dropout).view_as(rows)
            kept = rows * noise
        inner = kept @ thin_down.t()
        y = forward_product(base, rows)
        y.addmm_(inner, thin_up.t(), alpha=scaling)
        ctx.save_for_backward(rows, noise, inner, thin_down, thin_up)
        ctx.base, ctx.scaling, ctx.formats = base, scaling, (down.dtype, up.dtype)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, A and B."""
        (gradient,) = gradients
        rows, noise, inner, thin_down, thin_up = ctx.saved_tensors
        outer = gradient.reshape(-1, gradient.shape[-1])
        narrow = (outer @ thin_up).mul_(ctx.scaling)
        grad_up = (inner.t() @ outer).t().to(ctx.formats[1]).mul_(ctx.scaling)
        grad_down = (narrow.t() @ (rows if noise is None else rows * noise)).to(ctx.formats[0])
        if not ctx.needs_input_grad[0]:
            return None, None, grad_down, grad_up, None, None
        grad_rows = backward_product(ctx.base, outer)
        if noise is None:
            grad_rows.addmm_(narrow, thin_down)
        else:
            grad_rows.addcmul_(narrow @ thin_down, noise)
        return grad_rows.view(*gradient.shape[:-1], grad_rows.shape[-1]), None, grad_down, grad_up, None, None


class FastLinear(PeftLinear):  # type: ignore[misc]
    """PEFT's LoRA layer with `LoraProduct` where that computes the same; everything else is PEFT's, files too.

    A pair that began as the matrix's own largest directions (`pennyweight.model.principal`) counts from there: what it
    began as is subtracted, W + scaling · (B A − B₀ A₀).
    """

    start: tuple[Tensor, Tensor] | None = None
    """A₀ [rank, in] and B₀ [out, rank], frozen; none where B began at zero."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] → [..., out]."""
        name = self._only_plain_adapter()
        if name is None or args or kwargs:
            result: Tensor = super().forward(x, *args, **kwargs)
            return result if self.start is None or self.disable_adapters else self._less_start(x, result)
        dropout = self.lora_dropout[name]
        probability = dropout.p if self.training and isinstance(dropout, nn.Dropout) else 0.0
        base = self.get_base_layer()
        product: Tensor = LoraProduct.apply(  # type: ignore[no-untyped-call]
            x.to(base.weight.dtype), base, *self.factors(name), self.scaling[name], probability
        )
        return product

    def factors(self, name: str) -> tuple[Tensor, Tensor]:
        """A and B as they stand beside W; where the pair counts from a start, of twice its rank: [A; A₀], [B, −B₀]."""
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        if self.start is None:
            return down, up
        return torch.cat([down, self.start[0]]), torch.cat([up, -self.start[1]], dim=1)

    def _less_start(self, x: Tensor, result: Tensor) -> Tensor:
        assert self.start is not None
        down, up = (factor.to(x.dtype) for factor in self.start)
        scaling: float = self.scaling[self.active_adapters[0]]
        return result - (x @ down.t() @ up.t() * scaling).to(result.dtype)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """As `torch.nn.Module` moves parameters, the start moves too; it stays in fp32, as what is trained."""
        moved = super()._apply(*args, **kwargs)
        if self.start is not None:
            device = self.get_base_layer().weight.device
            self.start = (self.start[0].to(device), self.start[1].to(device))
        return moved

    def merge(self, *args: Any, **kwargs: Any) -> None:
        """As PEFT's."""
        super().merge(*args, **kwargs)
        self._forget()

    def unmerge(self) -> None:
        """As PEFT's."""
        super().unmerge()
        self._forget()

    def _forget(self) -> None:
        base = self.get_base_layer()
        if isinstance(base, PrepackedLinear):  # PEFT changes the weight unseen
            base.forget()

    def _only_plain_adapter(self) -> str | None:
        """The name of the adapter, where it is one LoRA pair beside a plain frozen matrix and nothing more."""
        active = self.active_adapters
        if self.disable_adapters or self.merged or len(active) != 1 or active[0] not in self.lora_A:
            return None
        base = self.base_layer  # which may carry an adapter of another kind itself
        plain = (
            type(base) in (nn.Linear, PrepackedLinear)
            and base.weight.is_floating_point()
            and not base.weight.requires_grad
        )
        if not plain or active[0] in self.lora_variant or self.lora_B[active[0]].bias is not None:
            return None
        return str(active[0])
