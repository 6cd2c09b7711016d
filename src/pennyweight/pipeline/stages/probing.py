"""Gives a linear head its start: fitted to what the network makes of the training texts before it learns from them."""

from __future__ import annotations

import numpy as np

from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.probe import fit_probe


def probe(bench: Workbench) -> None:
    """Fit a workbench's head to its labelled items, if its recipe wants that (LP-FT, Kumar et al. 2022, 2202.10054).

    The result follows from the network and the items alone, so that a resumed run, which fits it again, is the same.
    """
    head = bench.recipe.head
    if head.start == "random":
        return
    import torch

    items = bench.labelled()
    targets = np.eye(len(bench.collected.label_names))[bench.collected.labels[items]]
    weight, bias = fit_probe(bench.features(items), targets, strength=head.probe_strength)
    own = bench.network.head
    assert own is not None
    with torch.no_grad():
        own.out.weight.copy_(torch.from_numpy(weight))  # type: ignore[union-attr, operator]
        own.out.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr, operator]
