"""``classifier.json``: all that predicting needs besides the weights, versioned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pennyweight.errors import InputError
from pennyweight.recipe import Attention, CleaningStep, HeadKind, Pooling, Precision

FORMAT = 1
MANIFEST = "classifier.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class BackboneRecord(_Part):
    """Which backbone the adapters were trained on, so that no other is ever put under them."""

    name: str
    hub_id: str | None
    revision: str | None
    weights_sha256: str
    tokenizer_sha256: str
    model_type: str
    hidden_size: int
    precision: Precision
    attention: Attention


class HeadRecord(_Part):
    """Which head stands on the encoder."""

    kind: HeadKind
    pooling: Pooling | None
    rank: int | None


class TextRecord(_Part):
    """How a text becomes tokens, and in which columns texts and labels were found."""

    columns: tuple[str, ...]
    label_column: str
    first_label: int
    cleaning: tuple[CleaningStep, ...]
    max_length: int
    add_prefix_space: bool


class Manifest(_Part):
    """The contents of ``classifier.json``."""

    format: int = FORMAT
    labels: tuple[str, ...] = Field(min_length=2)
    """Label names in index order."""
    problem: Literal["single-label"] = "single-label"
    backbone: BackboneRecord
    head: HeadRecord
    text: TextRecord
    temperature: float = Field(gt=0)
    """What logits are divided by before probabilities are read off."""
    batch_size: int
    """Texts per forward pass."""
    files: dict[str, str]
    """SHA-256 of each weight file of the folder."""
    plan: dict[str, Any]
    metrics: dict[str, Any]
    """As of the evaluation at the end of training; empty where there was none."""
    recipe: dict[str, Any]
    environment: dict[str, Any]
    """Versions, machine, seconds and git state of the training run."""


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
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it from a copy") from None
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise InputError(
            f"{folder}: written in classifier format {written}, this Pennyweight reads up to {FORMAT}: upgrade it"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {key}: {first['msg'].lower()}; the file was altered, restore it from a copy"
        ) from None


def require_unaltered(folder: Path, manifest: Manifest) -> None:
    """Raises InputError where a weight file is missing or is not the one that was saved."""
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.exists():
            raise InputError(f"{path}: missing; the folder is not complete, restore it from a copy")
        if file_digest(path) != expected:
            raise InputError(
                f"{path}: truncated or altered since it was saved (its SHA-256 differs); restore it from a copy"
            )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
