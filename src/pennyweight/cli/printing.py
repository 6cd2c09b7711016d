"""What every command needs to answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pennyweight.cli.flags import precision_of

if TYPE_CHECKING:
    from pennyweight.classifier import Classifier


def opened(
    folder: Path, backbone: str | None, precision: str | None = None, *, copies: int | None = None
) -> Classifier:
    """Open a classifier; a folder that is none is refused before the libraries that it takes are imported."""
    from pennyweight.manifest import read_manifest
    from pennyweight.startup import load_libraries

    chosen = precision_of(precision)
    manifest = read_manifest(folder)
    load_libraries()
    from pennyweight.classifier import Classifier

    loaded = Classifier.load(folder, backbone=backbone, precision=chosen)
    if chosen == "int8" and manifest.int8 is None:
        measure = f"pennyweight quantise {folder} --data LABELLED"
        typer.echo(f"what int8 costs this classifier was never measured; `{measure}` does so", err=True)
    return loaded if copies is None else loaded.with_copies(copies)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    typer.echo(json.dumps(content, ensure_ascii=False))
