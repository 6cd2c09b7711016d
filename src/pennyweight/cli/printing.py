"""What every command needs to answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pennyweight.classifier import Classifier, LoadPrecision
    from pennyweight.predictor import Predictor


def opened(
    folder: Path, backbone: str | None, precision: LoadPrecision | None = None, *, copies: int | None = None
) -> Predictor:
    """Open what predicts; a folder that does not is refused before the libraries that it takes are imported."""
    from pennyweight.manifest import kind_of, read_manifest
    from pennyweight.startup import load_libraries

    measured = kind_of(folder) == "ensemble" or read_manifest(folder).int8 is not None
    load_libraries()
    from pennyweight.opening import load

    loaded = load(folder, backbone=backbone, precision=precision)
    if precision == "int8" and not measured:
        measure = f"pennyweight quantise {folder} --data LABELLED"
        typer.echo(f"what int8 costs this classifier was never measured; `{measure}` does so", err=True)
    return loaded if copies is None else loaded.with_copies(copies)


def opened_classifier(folder: Path, backbone: str | None) -> Classifier:
    """Open one classifier, in its own number format; an ensemble is refused as what is no classifier is."""
    from pennyweight.manifest import read_manifest
    from pennyweight.startup import load_libraries

    read_manifest(folder)
    load_libraries()
    from pennyweight.classifier import Classifier

    return Classifier.load(folder, backbone=backbone)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    typer.echo(json.dumps(content, ensure_ascii=False))
