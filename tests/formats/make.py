"""Writes the folder of the present format that every later version must open: `python tests/formats/make.py`.

Run it once when the format's number goes up, and commit what it writes; folders of older formats are never written
again. Everything in one takes less than 150 kB.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tiny import make_backbone, sentences, table_of, write_csv

from pennyweight.classifier import Classifier
from pennyweight.manifest import FORMAT
from pennyweight.pipeline.run import train_recipe
from pennyweight.recipe_files import build_recipe

TEXTS = [text for text, _ in sentences(12, seed=5)] + ["", "Ships &amp; ropes", "A pear\nin the salt net. " * 20]


def main() -> None:
    folder = Path(__file__).parent / f"v{FORMAT}"
    if folder.exists():
        raise SystemExit(f"{folder} exists already and is not to be changed")
    with tempfile.TemporaryDirectory(prefix="pennyweight-") as place:
        os.chdir(place)  # so that neither a path of this checkout nor its git state is recorded
        write(Path(place))
        shutil.copytree(place, folder)


def write(place: Path) -> None:
    """Backbone, classifier and its predictions, side by side in ``place``."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "max_position_embeddings": 64}
    backbone = make_backbone(place / "backbone", "bert", **sizes)
    source = write_csv(place / "small.csv", sentences())
    table = table_of(backbone, source, epochs=30)
    table["text"] |= {"cleaning": ["html", "newlines"], "max_length": 32}
    table["windows"] = {"count": 3, "overlap": 6, "pooling": "attention"}
    table["adapters"] |= {"rank": 2, "rank_pattern": {"query": 1}, "alpha": 6}
    table["training"] |= {"learning_rate": 2e-2}
    classifier_folder = train_recipe(build_recipe(table), place / "classifier", cpu=True).folder
    shutil.rmtree(classifier_folder / "report")
    source.unlink()
    classifier = Classifier.load(classifier_folder, device="cpu")
    predictions = {
        "texts": TEXTS,
        "labels": classifier.predict(TEXTS),
        "logits": classifier.logits(TEXTS).tolist(),
        "probabilities": classifier.predict_proba(TEXTS).tolist(),
    }
    (place / "predictions.json").write_text(json.dumps(predictions, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
