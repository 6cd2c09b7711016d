"""Writes a classifier as a folder of Transformers' own, which needs neither Pennyweight nor PEFT."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.files import write_bytes, writing
from pennyweight.manifest import Manifest
from pennyweight.model.stock import as_stock_model
from pennyweight.pipeline.folder import check_folder


@dataclass(frozen=True)
class Exported:
    """What was written."""

    name: str
    """The class of Transformers that it opens as."""
    notes: tuple[str, ...]
    """What of the classifier is not in it, each a sentence for the user."""


def export_folded(folder: Path, out: Path, *, backbone: str | None = None) -> Exported:
    """Write a classifier's folded network in fp32 as ``config.json``, ``model.safetensors`` and its tokenizer.

    Args:
        folder: the classifier's.
        out: new or empty folder.
        backbone: where the backbone now lives, if not where it was at training.

    Raises:
        InputError: a head without counterpart in Transformers, ``out`` not empty, or as `Classifier.load`.
        RunError: a file cannot be written.
    """
    check_folder(out, resume=False)
    classifier = Classifier.load(folder, backbone=backbone, device="cpu", precision="fp32")
    manifest = classifier.manifest
    if manifest.text.windows is not None:
        raise InputError(f"fold: {folder} reads several windows of a text, which Transformers' own models do not")
    if "prompt" in manifest.adapters.kind:
        raise InputError(f"fold: {folder} puts vectors before every text, which Transformers' own models do not")
    model = as_stock_model(classifier.network)
    model.config.id2label = dict(enumerate(manifest.labels))
    model.config.label2id = {label: index for index, label in enumerate(manifest.labels)}
    model.config.problem_type = manifest.problem.replace("-", "_") + "_classification"
    model.config._attn_implementation = "sdpa"  # ours is not known elsewhere
    tokenizer = classifier.tokenizer
    tokenizer.model_max_length = manifest.text.max_length
    with writing(out), tempfile.TemporaryDirectory(prefix="pennyweight-") as place:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        names = sorted(path.name for path in Path(place).iterdir())
        for name in [*(name for name in names if name != "config.json"), "config.json"]:
            write_bytes(out / name, (Path(place) / name).read_bytes())
    return Exported(type(model).__name__, _notes(manifest))


def _notes(manifest: Manifest) -> tuple[str, ...]:
    notes = []
    if manifest.text.cleaning:
        steps = ", ".join(manifest.text.cleaning)
        notes.append(f"texts have to be cleaned before ({steps}): Transformers does not do it")
    if manifest.copies is not None:
        notes.append(
            f"probabilities are those of a text alone, not averaged with {manifest.copies.count} altered copies"
        )
    if manifest.thresholds is not None:
        wanted = ", ".join(
            f"{label} {share:.3f}" for label, share in zip(manifest.labels, manifest.thresholds, strict=True)
        )
        notes.append(f"a label is given from its own probability on, at the temperature ({wanted})")
    if manifest.temperature != 1:
        notes.append(f"probabilities are those before the temperature: divide logits by {manifest.temperature:.4f}")
    return tuple(notes)
