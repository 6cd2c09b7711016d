"""PEFT's configuration of every kind of adapter, exactly as a plan says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pennyweight.budget.plan import PlannedMatrix

SECOND = {"lora+prompt": "prompt", "lora+ia3": "ia3"}
"""What stands beside pairs of factors in a kind that is two, and the folder in the classifier's that it is saved in."""


@dataclass(frozen=True)
class Pruning:
    """How AdaLoRA's ranks fall (Zhang et al. 2023, arXiv 2303.10512), in optimizer steps."""

    final_rank: int
    """Mean rank at the end."""
    total: int
    """Steps of the whole run."""
    between: tuple[float, float]
    """Shares of the run between which ranks fall."""

    @property
    def first(self) -> int:
        """Steps before the first pruning."""
        return int(self.between[0] * self.total)

    @property
    def last(self) -> int:
        """The step after which ranks stay; behind `first` also in a run of one step."""
        return min(self.total, max(int(self.between[1] * self.total), self.first + 1))


@dataclass(frozen=True)
class AdapterOptions:
    """What the matrices of a plan do not say of their adapters."""

    kind: str = "lora"
    """As the recipe names it."""
    dropout: float = 0.0
    """Probability of dropping an input element on the adapter path."""
    root_scaling: bool = False
    """Scale by alpha / √rank instead of alpha / rank."""
    init: Literal["default", "pissa", "eva"] = "default"
    """First factors; those of ``eva`` are put in later, from texts."""
    prompt_length: int = 0
    """Vectors before every text."""
    pruning: Pruning | None = None
    """With AdaLoRA, how its ranks fall."""


@dataclass(frozen=True)
class Place:
    """Where adapters are put."""

    prefix: str = ""
    """Name of the base model inside the task model; empty where the model is the bare encoder."""
    head_modules: Sequence[str] = field(default_factory=tuple)
    """Top-level modules of the stock head, trained and saved whole by PEFT."""

    def name(self, matrix: PlannedMatrix) -> str:
        """A matrix's name in the model."""
        return f"{self.prefix}.{matrix.name}" if self.prefix else matrix.name

    def arguments(self) -> dict[str, Any]:
        """What every configuration is told of it."""
        from peft import TaskType

        task = TaskType.SEQ_CLS if self.head_modules else TaskType.FEATURE_EXTRACTION
        return {"task_type": task, "modules_to_save": list(self.head_modules) or None}


def pair_config(planned: Sequence[PlannedMatrix], place: Place, options: AdapterOptions) -> Any:
    """The configuration of pairs of factors: LoRA, DoRA or AdaLoRA."""
    if planned[0].kind == "adalora":
        return _adalora_config(planned, place, options)
    from peft import LoraConfig

    rank = Counter(matrix.rank for matrix in planned).most_common(1)[0][0]
    alpha = Counter(matrix.alpha for matrix in planned).most_common(1)[0][0]
    names = {matrix.name: place.name(matrix) for matrix in planned}
    return LoraConfig(
        **place.arguments(),
        r=rank,
        lora_alpha=alpha,
        lora_dropout=options.dropout,
        target_modules=sorted(names.values()),
        rank_pattern={names[matrix.name]: matrix.rank for matrix in planned if matrix.rank != rank},
        alpha_pattern={names[matrix.name]: matrix.alpha for matrix in planned if matrix.alpha != alpha},
        use_dora=planned[0].kind == "dora",
        use_rslora=options.root_scaling,
        bias="none",
    )


def _adalora_config(planned: Sequence[PlannedMatrix], place: Place, options: AdapterOptions) -> Any:
    from peft import AdaLoraConfig

    pruning = options.pruning
    assert pruning is not None
    return AdaLoraConfig(
        **place.arguments(),
        init_r=planned[0].rank,
        target_r=pruning.final_rank,
        lora_alpha=planned[0].alpha,
        lora_dropout=options.dropout,
        target_modules=sorted(place.name(matrix) for matrix in planned),
        tinit=pruning.first,
        tfinal=pruning.total - pruning.last,
        deltaT=1,  # pruned at every step: what a validation sees is never above the rank of that moment
        total_step=pruning.total,
        orth_reg_weight=0.0,  # the objective's, which does not go through PEFT's forward pass
        bias="none",
    )


def vector_config(planned: Sequence[PlannedMatrix], place: Place) -> Any:
    """The configuration of scaling vectors (IA³)."""
    from peft import IA3Config

    return IA3Config(
        **place.arguments(),
        target_modules=sorted(place.name(matrix) for matrix in planned),
        feedforward_modules=sorted(place.name(matrix) for matrix in planned if matrix.scales_inputs),
    )


def prompt_config(length: int, model_config: Any, place: Place) -> Any:
    """The configuration of vectors before every text, which begin as those of words drawn from the vocabulary."""
    from peft import PromptTuningConfig

    return PromptTuningConfig(
        **place.arguments(),
        num_virtual_tokens=length,
        prompt_tuning_init="SAMPLE_VOCAB",
        token_dim=model_config.hidden_size,
        num_layers=model_config.num_hidden_layers,
        num_attention_heads=model_config.num_attention_heads,
        num_transformer_submodules=1,
    )
