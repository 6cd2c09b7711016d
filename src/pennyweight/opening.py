"""Opens whatever a folder holds that predicts: one classifier, or several combined."""

from __future__ import annotations

from pathlib import Path

from pennyweight.classifier import Classifier, LoadPrecision
from pennyweight.ensemble import Ensemble
from pennyweight.manifest import kind_of
from pennyweight.predictor import Predictor


def load(
    folder: str | Path,
    *,
    backbone: str | Path | None = None,
    device: str | None = None,
    precision: LoadPrecision | None = None,
) -> Predictor:
    """Open a classifier or an ensemble to predict with; arguments and errors as of `Classifier.load`."""
    kinds: dict[str, type[Classifier | Ensemble]] = {"classifier": Classifier, "ensemble": Ensemble}
    return kinds[kind_of(Path(folder))].load(folder, backbone=backbone, device=device, precision=precision)
