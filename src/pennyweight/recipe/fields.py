"""The types that a recipe's fields are made of, and what all its sections share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt

CleaningStep = Literal["html", "newlines", "backslashes", "unicode", "punctuation", "lowercase", "lemmas"]
AugmentationStep = Literal["synonyms", "insert", "swap", "delete"]
TestTimeStep = Literal["synonyms", "swap", "delete"]
NeighboursBy = Literal["meaning", "words"]
AdapterKind = Literal["lora", "dora", "adalora", "ia3", "prompt", "lora+prompt", "lora+ia3"]
HeadKind = Literal["stock", "linear", "low-rank"]
Pooling = Literal["cls", "mean"]
WindowPooling = Literal["mean", "max", "attention"]
Precision = Literal["auto", "fp32", "bf16", "nf4"]
Attention = Literal["auto", "plain", "packed", "sdpa", "eager"]
OptimizerName = Literal["adamw", "adamw-8bit", "sgd", "rmsprop", "muon"]
ScheduleName = Literal["constant", "linear", "cosine", "cosine-restarts", "plateau"]
SamplerName = Literal["uniform", "balanced"]
MetricName = Literal["accuracy", "macro_f1", "micro_f1", "loss"]
LossName = Literal["cross-entropy", "focal", "gce"]
Problem = Literal["single-label", "multi-label"]
Thresholds = Literal["tuned", "half"]


def as_list(value: Any) -> Any:
    """A single name where a list is expected stands for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def checked_label_names(value: Any) -> Any:
    """Refuses what can be no list of classes; here, because the branches of a union each report on their own."""
    if value == "auto":
        return value
    shown = f"data.labels = {value!r:.60}"
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise ValueError(f'{shown}: give two label names or more in a list, such as ["no", "yes"], or auto')
    if not all(isinstance(name, str) and name.strip() for name in value):
        raise ValueError(f'{shown}: every label name is a text that is not empty; numbers go in quotes: ["0", "1"]')
    names = [name.strip() for name in value]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{shown}: the label name {twice!r:.60} is given twice; name each class once")
    return value


def checked_distinct(value: Any) -> Any:
    """Refuses a list in which a name stands twice; a single name stands for a list of one."""
    names = as_list(value)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r:.60} is given twice; name each once")
    return names


# Strict: true is no number, "3" is no number and "yes" is no truth value; a whole number is a number, though.
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(as_list), Field(min_length=1)]
LabelNames = Annotated[tuple[Name, ...], Field(min_length=2)]
Positive = Annotated[StrictInt, Field(ge=1)]
NotNegative = Annotated[StrictInt, Field(ge=0)]
AboveZero = Annotated[StrictFloat, Field(gt=0)]
Weights = tuple[AboveZero, ...]
Share = Annotated[StrictFloat, Field(ge=0, le=1)]
ShareAboveZero = Annotated[StrictFloat, Field(gt=0, le=1)]
Probability = Annotated[StrictFloat, Field(ge=0, lt=1)]
Language = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


class Section(BaseModel):
    """A frozen table of the recipe; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def refuse_dead(section: Section, name: str, needs: Mapping[str, tuple[bool, str]]) -> None:
    """Raises ValueError at a key away from its default that nothing would read.

    Args:
        section: whose keys these are.
        name: what the section is called in a recipe.
        needs: by key, whether what reads it is chosen, and the setting that chooses it.
    """
    for key, (met, need) in needs.items():
        if not met and getattr(section, key) != type(section).model_fields[key].default:
            raise ValueError(f"{name}.{key} has no meaning without {need}: leave it out")
