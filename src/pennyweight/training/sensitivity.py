"""What a change of each matrix promises: the singular values of the loss's gradient with respect to it.

Of all updates of rank r and length one, the steepest is the sum of the gradient's r largest singular directions, and
each further direction adds its singular value (Eckart and Young 1936; LoRA-GA, Wang et al. 2024, arXiv 2407.05000,
begins its factors there). So the values are what each further rank of a pair gains, in one currency for all matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pennyweight.errors import RunError
from pennyweight.training.batch import StepBatches
from pennyweight.training.objectives import Objective

_HEAD_RATE = 1e-2  # AdamW's, for a head that learns alone


def gradient_spectra(
    network: nn.Module,
    matrices: Mapping[str, nn.Parameter],
    objective: Objective,
    steps: Iterable[StepBatches],
    *,
    head: Mapping[str, nn.Parameter],
    warmup: int,
) -> dict[str, list[float]]:
    """Singular values of each frozen matrix's mean gradient, while the encoder stays as it is and the head learns.

    A head fresh from its initialisation would ask for changes at random; so it learns alone for ``warmup`` steps before
    gradients are added up, and goes on meanwhile.

    Args:
        network: ready to train; matrices and head are left as they were, gradients removed.
        matrices: frozen matrices by a name.
        objective: loss of each item.
        steps: batches of one step after the other.
        head: what learns.
        warmup: steps before the first gradient counts.

    Returns:
        By name, all singular values, falling; zeros where no step was left behind the warm-up.

    Raises:
        RunError: a gradient is not finite.
    """
    learnt = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    kept = [parameter.detach().clone() for parameter in head.values()]
    network.requires_grad_(False)
    for parameter in head.values():
        parameter.requires_grad_(True)
    sums = {name: torch.zeros_like(matrix, dtype=torch.float32) for name, matrix in matrices.items()}
    optimizer = torch.optim.AdamW(head.values(), lr=_HEAD_RATE, weight_decay=0.0)
    was_training = network.training
    network.eval()
    try:
        for number, content in enumerate(steps):
            if number == warmup:
                for matrix in matrices.values():
                    matrix.requires_grad_(True)
            for batch in content.batches:
                (objective(network, batch).sum() * batch.weight / content.items).backward()  # type: ignore[no-untyped-call]
            _add_up(sums, matrices)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    finally:
        network.train(was_training)
        with torch.no_grad():
            for parameter, before in zip(head.values(), kept, strict=True):
                parameter.copy_(before)
        for name, parameter in network.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(learnt[name])
    if not all(bool(gradient.isfinite().all()) for gradient in sums.values()):
        raise RunError("adapters.rank = 'sensitivity': gradients are not finite; take --set backbone.precision=fp32")
    return {name: torch.linalg.svdvals(gradient).tolist() for name, gradient in sums.items()}


def _add_up(sums: Mapping[str, Tensor], matrices: Mapping[str, nn.Parameter]) -> None:
    for name, matrix in matrices.items():
        if matrix.grad is not None:
            sums[name] += matrix.grad
            matrix.grad = None
