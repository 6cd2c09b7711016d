"""The ``classifier.json`` of an ensemble: its members, each a classifier folder inside, and how they are combined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from pennyweight.errors import InputError
from pennyweight.manifest import (
    MANIFEST,
    Card,
    ColumnsRecord,
    Digest,
    Share,
    file_digest,
    kind_of,
    read_card,
    read_manifest,
)

MEMBERS = "members"
STACKING = "stacking.safetensors"
Method = Literal["mean", "weighted", "stacked"]


class MemberRecord(BaseModel):
    """One member; it lies in ``members/`` under its place in the list, from 0."""

    model_config = Card.model_config

    name: str
    """What its folder was called before it joined."""
    sha256: Digest
    """Of its ``classifier.json``, which holds the digests of its weights."""
    weight: Share
    """Its share in the mean of probabilities; of no effect where they are stacked."""


class FittedRecord(BaseModel):
    """What the combination was fitted to."""

    model_config = Card.model_config

    data: str
    examples: int = Field(ge=1)
    log_loss: float
    """Of the ensemble on these very items, at its temperature; of several labels the mean over labels, too."""
    member_log_loss: tuple[float, ...]
    """Of each member, at its own temperature."""


class EnsembleManifest(Card):
    """The contents of an ensemble's ``classifier.json``."""

    kind: Literal["ensemble"] = "ensemble"
    text: ColumnsRecord
    method: Method
    members: Annotated[tuple[MemberRecord, ...], Field(min_length=1)]
    fitted: FittedRecord | None
    """None where nothing was fitted."""

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        if abs(sum(member.weight for member in self.members) - 1) > 1e-6:
            raise ValueError("the members' weights sum to 1, these do not")
        return self


def member_folder(folder: Path, place: int) -> Path:
    """Where member number ``place`` of an ensemble lies."""
    return folder / MEMBERS / str(place)


def read_either(folder: Path) -> Card:
    """Read and check ``classifier.json`` of a classifier or an ensemble; raises InputError as reading either does."""
    return read_ensemble(folder) if kind_of(folder) == "ensemble" else read_manifest(folder)


def read_ensemble(folder: Path) -> EnsembleManifest:
    """Read and check the ``classifier.json`` of an ensemble.

    Raises:
        InputError: as `pennyweight.manifest.read_manifest`; or a member's is missing or was altered.
    """
    manifest = read_card(folder, EnsembleManifest)
    if manifest.method == "stacked" and STACKING not in manifest.files:
        raise InputError(
            f"{folder / MANIFEST}: files: the digest of {STACKING} is not among them; the file was altered, restore it "
            f"from a copy"
        )
    for place, member in enumerate(manifest.members):
        path = member_folder(folder, place) / MANIFEST
        if not path.is_file():
            raise InputError(f"{path}: missing; the ensemble is not complete, restore it from a copy")
        if file_digest(path) != member.sha256:
            raise InputError(
                f"{path}: altered since the ensemble was made (its SHA-256 differs); make the ensemble anew"
            )
    return manifest
