"""``classifier.json``: all that predicting needs besides the weights, versioned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from pennyweight.errors import InputError
from pennyweight.files import write_json, write_text
from pennyweight.manifest.records import (
    AdapterRecord,
    BackboneRecord,
    ColumnsRecord,
    Digest,
    HeadRecord,
    Int8Record,
    Name,
    Part,
    Share,
    TextRecord,
    WindowsRecord,
)
from pennyweight.manifest_copies import CopiesRecord
from pennyweight.recipe import Problem

__all__ = [
    "FORMAT",
    "AdapterRecord",
    "BackboneRecord",
    "ColumnsRecord",
    "Digest",
    "HeadRecord",
    "Int8Record",
    "Share",
    "TextRecord",
    "WindowsRecord",
]

FORMAT = 2
MANIFEST = "classifier.json"
ADAPTERS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
HEAD = "head.safetensors"

_RECORDS = {"int8", "metrics", "plan", "recipe", "environment"}
"""What a manifest tells of its classifier, and no prediction follows from."""


class Card(Part):
    """What ``classifier.json`` says of anything that predicts, whether one classifier or several together."""

    format: int = Field(default=FORMAT, ge=1)
    kind: str
    labels: Annotated[tuple[Name, ...], Field(min_length=2)]
    """Label names in index order."""
    problem: Problem = "single-label"
    """Whether each text has one class, or any number of labels."""
    text: ColumnsRecord
    temperature: float = Field(gt=0, allow_inf_nan=False)
    """What logits are divided by before probabilities are read off."""
    thresholds: tuple[Share, ...] | None = None
    """Of several labels per text: the probability from which on each is given, in index order."""
    files: dict[str, Digest]
    """SHA-256 of each weight file of the folder; empty until they are written."""
    plan: dict[str, Any]
    metrics: dict[str, Any]
    """As of the evaluation at the end of training; empty where there was none."""
    recipe: dict[str, Any]
    environment: dict[str, Any]
    """Versions, machine, seconds and git state of the training run."""

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


class Manifest(Card):
    """The ``classifier.json`` of one classifier."""

    kind: Literal["classifier"] = "classifier"
    backbone: BackboneRecord
    head: HeadRecord
    adapters: AdapterRecord = AdapterRecord()
    """None in folders of format 1, whose adapters are all LoRA."""
    text: TextRecord
    batch_size: int = Field(ge=1)
    """Texts per forward pass."""
    copies: CopiesRecord | None = None
    """None: a text is judged by itself, as all were before format 2."""
    int8: Int8Record | None = None
    """What int8 costs; none where it was never measured. Readers that do not know it pass it over."""


CardType = TypeVar("CardType", bound=Card)


def weight_files(manifest: Manifest) -> tuple[str, ...]:
    """Names of the files that ``files`` must give the digests of.

    PEFT saves a stock head with the adapters; what pools windows by attention has weights of its own beside it.
    """
    second, windows = manifest.adapters.second, manifest.text.windows
    apart = () if second is None else (f"{second}/{ADAPTERS}", f"{second}/{ADAPTER_CONFIG}")
    beside_peft = manifest.head.kind != "stock" or (windows is not None and windows.pooling == "attention")
    return (ADAPTERS, ADAPTER_CONFIG, *apart, *((HEAD,) if beside_peft else ()))


def read_manifest(folder: Path) -> Manifest:
    """Read and check the ``classifier.json`` of one classifier.

    Raises:
        InputError: no such folder, not a classifier, training not finished, a newer format, or an altered file.
    """
    if kind_of(folder) != "classifier":
        raise InputError(
            f"{folder}: holds an ensemble, and one classifier is wanted; give a member, such as {folder / 'members/0'}"
        )
    manifest = read_card(folder, Manifest)
    for name in weight_files(manifest):
        if name not in manifest.files:
            raise InputError(
                f"{folder / MANIFEST}: files: the digest of {name} is not among them; the file was altered, restore it "
                f"from a copy"
            )
    return manifest


def kind_of(folder: Path) -> str:
    """``classifier`` or ``ensemble``: what a folder holds; raises InputError as `read_manifest` does."""
    content = json.loads(_read_text(folder))
    kind = content.get("kind", "classifier") if isinstance(content, dict) else "classifier"
    return "ensemble" if kind == "ensemble" else "classifier"


def read_card(folder: Path, shape: type[CardType]) -> CardType:
    """Read ``folder/classifier.json`` as ``shape``; raises InputError as `read_manifest` does."""
    text = _read_text(folder)
    try:
        return shape.model_validate_json(text)  # strictly, in which a JSON list may still be a tuple
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{folder / MANIFEST}: {key}{reason[:1].lower()}{reason[1:]}; the file was altered, restore it from a copy"
        ) from None


def _read_text(folder: Path) -> str:
    """``classifier.json``, of a format that is known; raises InputError where it is not, or is no JSON."""
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
    return text


def write_manifest(folder: Path, manifest: Card) -> None:
    """Write ``folder/classifier.json``; raises RunError where it cannot be written."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def record_int8(folder: Path, record: Int8Record) -> None:
    """Add what int8 costs to ``folder/classifier.json``, in the place of an earlier measurement.

    Raises:
        InputError: as `read_manifest`.
        RunError: the file cannot be written.
    """
    read_manifest(folder)
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    write_json(folder / MANIFEST, {**content, "int8": record.model_dump()})  # keys that we do not know stay


def prediction_digest(manifest: Card) -> str:
    """SHA-256 of all of a manifest that predictions follow from: what it only tells of the classifier is left out."""
    return hashlib.sha256(manifest.model_dump_json(exclude=_RECORDS).encode()).hexdigest()


def require_unaltered(folder: Path, manifest: Card) -> None:
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
