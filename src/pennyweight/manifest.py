"""``classifier.json``: all that predicting needs besides the weights, versioned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pennyweight.errors import InputError
from pennyweight.files import write_json, write_text
from pennyweight.manifest_copies import CopiesRecord
from pennyweight.recipe import (
    AdapterKind,
    Attention,
    CleaningStep,
    HeadKind,
    Language,
    Pooling,
    Precision,
    Problem,
    WindowPooling,
    most_overlap,
)

FORMAT = 2
MANIFEST = "classifier.json"
ADAPTERS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
HEAD = "head.safetensors"

Name = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
ComputedPrecision = Literal["fp32", "bf16"]

_RECORDS = {"int8", "metrics", "plan", "recipe", "environment"}
"""What a manifest tells of its classifier, and no prediction follows from."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)


class BackboneRecord(_Part):
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


class HeadRecord(_Part):
    """Which head stands on the encoder."""

    kind: HeadKind
    pooling: Pooling | None
    rank: Annotated[int, Field(ge=1)] | None

    @model_validator(mode="after")
    def _rank_of_low_rank(self) -> Self:
        if (self.kind == "low-rank") != (self.rank is not None):
            raise ValueError("a low-rank head has a rank, and no other has one")
        return self


class AdapterRecord(_Part):
    """Which kind of adapter was trained; of two kinds, the second has a folder of its own."""

    kind: AdapterKind = "lora"

    @property
    def second(self) -> str | None:
        """The folder of the second kind; none where there is one kind."""
        _, both, second = self.kind.partition("+")
        return second if both else None


class WindowsRecord(_Part):
    """How a long text is read in several windows."""

    count: int = Field(ge=2)
    """Most windows of one text."""
    overlap: int = Field(ge=0)
    """Tokens that neighbouring windows have in common."""
    pooling: WindowPooling


class TextRecord(_Part):
    """How a text becomes tokens, and in which columns texts and labels were found."""

    columns: Annotated[tuple[Name, ...], Field(min_length=1)]
    label_column: Name
    first_label: int = Field(ge=0)
    cleaning: tuple[CleaningStep, ...]
    max_length: int = Field(ge=4, le=8192)
    add_prefix_space: bool
    language: Language = "en"
    """Of the cleaning step `lemmas`."""
    label_separator: Name = "|"
    """What stands between the labels of an item where they are written as one text; of several labels per item."""
    windows: WindowsRecord | None = None
    """None: a text is one window, as all were before format 2."""

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> Self:
        if self.windows is not None and self.windows.overlap > most_overlap(self.max_length):
            raise ValueError(f"windows of {self.max_length} tokens cannot overlap by {self.windows.overlap}")
        return self


class Int8Record(_Part):
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


class Manifest(_Part):
    """The contents of ``classifier.json``."""

    format: int = Field(default=FORMAT, ge=1)
    labels: Annotated[tuple[Name, ...], Field(min_length=2)]
    """Label names in index order."""
    problem: Problem = "single-label"
    """Whether each text has one class, or any number of labels."""
    backbone: BackboneRecord
    head: HeadRecord
    adapters: AdapterRecord = AdapterRecord()
    """None in folders of format 1, whose adapters are all LoRA."""
    text: TextRecord
    temperature: float = Field(gt=0, allow_inf_nan=False)
    """What logits are divided by before probabilities are read off."""
    thresholds: tuple[Share, ...] | None = None
    """Of several labels per text: the probability from which on each is given, in index order."""
    batch_size: int = Field(ge=1)
    """Texts per forward pass."""
    files: dict[str, Digest]
    """SHA-256 of each weight file of the folder; empty until they are written."""
    plan: dict[str, Any]
    metrics: dict[str, Any]
    """As of the evaluation at the end of training; empty where there was none."""
    recipe: dict[str, Any]
    environment: dict[str, Any]
    """Versions, machine, seconds and git state of the training run."""
    copies: CopiesRecord | None = None
    """None: a text is judged by itself, as all were before format 2."""
    int8: Int8Record | None = None
    """What int8 costs; none where it was never measured. Readers that do not know it pass it over."""

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len({label.strip() for label in labels} - {""}) < len(labels):
            raise ValueError("label names are distinct and not empty, these are not")
        return labels

    @model_validator(mode="after")
    def _thresholds_of_labels(self) -> Self:
        expected = len(self.labels) if self.problem == "multi-label" else None
        if (None if self.thresholds is None else len(self.thresholds)) != expected:
            raise ValueError("there is a threshold for each label where texts have several, and none elsewhere")
        return self

    @field_validator("files")
    @classmethod
    def _inside_the_folder(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            plain = name.removeprefix("prompt/").removeprefix("ia3/")  # where a second kind of adapter is kept
            if plain in ("", ".", "..") or not set(plain).isdisjoint("/\\\0"):
                raise ValueError(f"{name!r} is not the plain name of a file")
        return files


def weight_files(manifest: Manifest) -> tuple[str, ...]:
    """Names of the files that ``files`` must give the digests of.

    PEFT saves a stock head with the adapters; what pools windows by attention has weights of its own beside it.
    """
    second, windows = manifest.adapters.second, manifest.text.windows
    apart = () if second is None else (f"{second}/{ADAPTERS}", f"{second}/{ADAPTER_CONFIG}")
    beside_peft = manifest.head.kind != "stock" or (windows is not None and windows.pooling == "attention")
    return (ADAPTERS, ADAPTER_CONFIG, *apart, *((HEAD,) if beside_peft else ()))


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``folder/classifier.json``.

    Raises:
        InputError: no such folder, not a classifier, training not finished, a newer format, or an altered file.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"{folder}: no such classifier folder")
    if not path.exists():
        if (folder / "training").is_dir():
            raise InputError(
                f"{folder}: its training is not finished; go on with `pennyweight train RECIPE --out {folder} --resume`"
            )
        raise InputError(f"{folder}: not a classifier folder (no {MANIFEST} in it)")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it from a copy") from None
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise InputError(
            f"{folder}: written in classifier format {written}, this Pennyweight reads up to {FORMAT}: upgrade it"
        )
    try:
        manifest = Manifest.model_validate_json(text)  # strictly, in which a JSON list may still be a tuple
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{path}: {key}{reason[:1].lower()}{reason[1:]}; the file was altered, restore it from a copy"
        ) from None
    for name in weight_files(manifest):
        if name not in manifest.files:
            raise InputError(
                f"{path}: files: the digest of {name} is not among them; the file was altered, restore it from a copy"
            )
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``folder/classifier.json``; raises RunError where it cannot be written."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def require_one_class(manifest: Manifest, *, what: str) -> None:
    """Raises InputError where a classifier gives any number of labels, and ``what`` is for one class per text."""
    if manifest.problem != "single-label":
        raise InputError(f"{what} is for classifiers of one class per text, and this one gives several labels")


def record_int8(folder: Path, record: Int8Record) -> None:
    """Add what int8 costs to ``folder/classifier.json``, in the place of an earlier measurement.

    Raises:
        InputError: as `read_manifest`.
        RunError: the file cannot be written.
    """
    read_manifest(folder)
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    write_json(folder / MANIFEST, {**content, "int8": record.model_dump()})  # keys that we do not know stay


def prediction_digest(manifest: Manifest) -> str:
    """SHA-256 of all of a manifest that predictions follow from: what it only tells of the classifier is left out."""
    return hashlib.sha256(manifest.model_dump_json(exclude=_RECORDS).encode()).hexdigest()


def require_unaltered(folder: Path, manifest: Manifest) -> None:
    """Raises InputError where a weight file is missing or is not the one that was saved."""
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing, or not a file; the folder is not complete, restore it from a copy")
        try:
            found = file_digest(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if found != expected:
            raise InputError(
                f"{path}: truncated or altered since it was saved (its SHA-256 differs); restore it from a copy"
            )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
