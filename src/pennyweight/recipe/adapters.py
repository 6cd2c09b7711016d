"""Adapters: which kind, on which matrices, of which rank."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictFloat, model_validator

from pennyweight.recipe.fields import AboveZero, AdapterKind, Names, Positive, Probability, Section, Share


class Adapters(Section):
    """What is trained inside the frozen encoder, by default pairs of thin factors (LoRA, Hu et al. 2021, 2106.09685).

    A selector is a module's full name or the end of it, with `*` for any run of characters inside one dotted part,
    and optionally `@` with layer numbers: `query`, `layer.*.output.dense`, `query@0,1,-2`, `value@6:`.
    """

    kind: AdapterKind = "lora"
    """`lora`; `dora`: the same with trained row lengths (2402.09353); `adalora`: the same, ranks pruned while training
    (2303.10512); `ia3`: vectors that scale (2205.05638); `prompt`: vectors before the text (2104.08691); or two."""
    targets: Annotated[Literal["all-linear"] | Names, Field(union_mode="left_to_right")] = ("query", "value")
    """Selectors of the matrices that get a pair of factors, or `all-linear` for every one in the encoder."""
    rank: Positive | Literal["fill", "sensitivity"] = 8
    """Rank r of each pair of factors; `fill`: the largest uniform rank that fits the budget; `sensitivity`: a rank for
    each matrix, by what its gradient promises, until the budget is full. For `adalora`, the rank it begins with."""
    alpha: AboveZero | None = None
    """Scaling numerator: the update is alpha / r times B A. None: twice each matrix's rank."""
    dropout: Probability = 0.0
    """Probability of dropping an input element on the adapter path."""
    rank_pattern: dict[str, Positive] = {}
    """Rank for the matrices that a selector picks, instead of `rank`; later entries win."""
    alpha_pattern: dict[str, AboveZero] = {}
    """Alpha for the matrices that a selector picks, instead of `alpha`; later entries win."""
    scaling: Literal["standard", "rslora"] = "standard"
    """`standard`: alpha / r; `rslora`: alpha / √r, which keeps high ranks learning (2312.03732); needs an alpha."""
    init: Literal["default", "pissa", "eva"] = "default"
    """First factors. `default`: A uniform, B zero; `pissa`: the matrix's largest singular directions (2404.02948);
    `eva`: A from the principal directions of the matrix's inputs on training texts, B zero (2410.07170)."""
    sensitivity_steps: Positive = 200
    """Training batches whose gradients decide ranks where `rank` is `sensitivity`."""
    final_rank: Positive | None = None
    """Mean rank that `adalora` prunes down to; none: half of `rank`, at least 1."""
    prune_between: tuple[Share, Share] = (0.15, 0.7)
    """Shares of all optimizer steps between which `adalora` prunes; before and after, ranks stay."""
    orthogonality: Annotated[StrictFloat, Field(ge=0)] = 0.1
    """Weight of the penalty that keeps the factors of `adalora` orthogonal."""
    ia3_targets: Names | None = None
    """Selectors of the matrices that get a scaling vector: on their outputs, or on their inputs where a matrix narrows.
    None: keys, values and the second matrix of each feed-forward, of encoders built as BERT is."""
    prompt_length: Positive | None = None
    """Number of trained vectors before every text; none: 10 for a kind with a prompt."""

    @property
    def pairs(self) -> Literal["lora", "dora", "adalora"] | None:
        """What kind of factors stands on the targets; none where there are none."""
        if self.kind in ("ia3", "prompt"):
            return None
        return self.kind if self.kind in ("dora", "adalora") else "lora"

    @property
    def prompt_vectors(self) -> int:
        """Number of trained vectors before every text."""
        return (self.prompt_length or 10) if "prompt" in self.kind else 0

    @property
    def scales(self) -> bool:
        """Whether matrices get scaling vectors."""
        return "ia3" in self.kind

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        kind, plain = self.kind, self.pairs == "lora"
        meaningful = {
            **dict.fromkeys(("targets", "rank", "alpha", "dropout"), self.pairs is not None),
            **dict.fromkeys(("rank_pattern", "alpha_pattern", "scaling"), plain or kind == "dora"),
            **dict.fromkeys(("final_rank", "prune_between", "orthogonality"), kind == "adalora"),
            "init": plain,
            "ia3_targets": self.scales,
            "prompt_length": "prompt" in kind,
        }
        for key, has_meaning in meaningful.items():
            default = type(self).model_fields[key].default
            if not has_meaning and getattr(self, key) != default:
                raise ValueError(
                    f"adapters.{key} = {_shown(getattr(self, key))} has no meaning with adapters.kind = {kind!r}: "
                    f"leave it out, or at its default {_shown(default)}"
                )
        return self

    @model_validator(mode="after")
    def _ranks_that_go_together(self) -> Self:
        if self.scaling == "rslora" and self.alpha is None:
            raise ValueError("adapters.scaling = 'rslora' scales by alpha / √r: give adapters.alpha")
        if self.rank == "sensitivity" and (self.rank_pattern or self.kind == "adalora"):
            other = "adapters.rank_pattern" if self.rank_pattern else "adapters.kind = 'adalora'"
            raise ValueError(f"adapters.rank = 'sensitivity' finds all ranks by itself: leave out {other}")
        steps = type(self).model_fields["sensitivity_steps"].default
        if self.rank != "sensitivity" and self.sensitivity_steps != steps:
            raise ValueError("adapters.sensitivity_steps goes with adapters.rank = 'sensitivity', and only with it")
        if self.kind == "adalora":
            if self.prune_between[0] >= self.prune_between[1]:
                raise ValueError("adapters.prune_between: the first share is below the second, such as [0.15, 0.7]")
            if isinstance(self.rank, int) and (self.rank < 2 or (self.final_rank or 1) >= self.rank):
                raise ValueError(
                    "adapters.kind = 'adalora' prunes from adapters.rank down to a lower adapters.final_rank"
                )
        return self


def _shown(value: object) -> str:
    return repr(list(value)) if isinstance(value, tuple) else "none" if value is None else repr(value)
