"""The parts of ``classifier.json``: backbone, head, text, windows, and what int8 costs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pennyweight.recipe import (
    AdapterKind,
    Attention,
    CleaningStep,
    HeadKind,
    Language,
    Pooling,
    Precision,
    WindowPooling,
    most_overlap,
)

Name = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
ComputedPrecision = Literal["fp32", "bf16", "nf4"]


class Part(BaseModel):
    """A frozen part of the file; what is not known is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)


class BackboneRecord(Part):
    """Which backbone the adapters were trained on, so that no other is ever put under them."""

    name: str
    hub_id: str | None
    revision: str | None
    weights_sha256: str
    tokenizer_sha256: str
    model_type: str
    hidden_size: int = Field(ge=1)
    precision: Precision
    attention: Attention


class HeadRecord(Part):
    """Which head stands on the encoder."""

    kind: HeadKind
    pooling: Pooling | None
    rank: Annotated[int, Field(ge=1)] | None

    @model_validator(mode="after")
    def _rank_of_low_rank(self) -> Self:
        if (self.kind == "low-rank") != (self.rank is not None):
            raise ValueError("a low-rank head has a rank, and no other has one")
        return self


class AdapterRecord(Part):
    """Which kind of adapter was trained; of two kinds, the second has a folder of its own."""

    kind: AdapterKind = "lora"

    @property
    def second(self) -> str | None:
        """The folder of the second kind; none where there is one kind."""
        _, both, second = self.kind.partition("+")
        return second if both else None


class WindowsRecord(Part):
    """How a long text is read in several windows."""

    count: int = Field(ge=2)
    """Most windows of one text."""
    overlap: int = Field(ge=0)
    """Tokens that neighbouring windows have in common."""
    pooling: WindowPooling


class ColumnsRecord(Part):
    """In which columns texts and labels are found."""

    columns: Annotated[tuple[Name, ...], Field(min_length=1)]
    label_column: Name
    first_label: Annotated[int, Field(ge=0)] | None
    """Integer that stands for the first label; none where labels were discovered, whose order says nothing."""
    label_separator: Name = "|"
    """What stands between the labels of an item where they are written as one text; of several labels per item."""


class TextRecord(ColumnsRecord):
    """How a text becomes tokens, and in which columns texts and labels were found."""

    cleaning: tuple[CleaningStep, ...]
    max_length: int = Field(ge=4, le=8192)
    add_prefix_space: bool
    language: Language = "en"
    """Of the cleaning step `lemmas`."""
    windows: WindowsRecord | None = None
    """None: a text is one window, as all were before format 2."""

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> Self:
        if self.windows is not None and self.windows.overlap > most_overlap(self.max_length):
            raise ValueError(f"windows of {self.max_length} tokens cannot overlap by {self.windows.overlap}")
        return self


class Int8Record(Part):
    """What int8 costs this classifier, measured on labelled data."""

    data: str
    """Which data, as a phrase."""
    examples: int = Field(ge=1)
    accuracy: Share
    """Share of right items in int8."""
    reference: ComputedPrecision
    """The number format compared with."""
    reference_accuracy: Share
    difference: float = Field(ge=-1, le=1)
    """Accuracy minus that of the reference: negative where something is lost."""
    agreement: Share
    """Share of items that get the same label both ways."""
    library: str
    """Whose int8 it is."""
    version: str
    """Of that library."""
