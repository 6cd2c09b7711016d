"""Which matrices of an encoder are quantised, whatever into."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

APART = ("pooler", "embeddings", "embeddings_project")
"""Parts of an encoder that are not quantised."""


def linears(base: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Every matrix that may be quantised and is not yet: the module that holds it, its name there, and itself."""
    for path, module in base.named_modules():
        if isinstance(module, nn.Linear) and path.split(".")[0] not in APART:
            parent, _, name = path.rpartition(".")
            yield base.get_submodule(parent), name, module
