"""Speed of predicting: Pennyweight against Transformers' pipeline and ONNX Runtime, with the accuracy beside it.

``python -m benchmarks.inference [--quick] [--json]`` with PENNYWEIGHT_DATA naming the folder of data sets. One
classifier (LoRA rank 8 on query and value of ``minilm``, stock head, first 10,000 items of AG News) is trained once
into ``runs/inference`` and given to all: as it is to Pennyweight, merged by PEFT to Transformers' pipeline, exported
and quantised to ONNX Runtime. Rates are from raw texts to labels, tokenising included. Each contender lives in a
process of its own; they take turns, the slow ones with fewer items. Accuracy is over all test items. The result is
written to ``benchmarks/results/inference.json``, that of a machine without bf16 instructions, where nobody computes in
bf16, to ``inference_fp32.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import recipe_for
from benchmarks.exports import merged, onnx_int8, trained
from benchmarks.harness import (
    Contender,
    alternate,
    apart,
    backbone_folder,
    data_folder,
    float_format,
    keep,
    kept_as,
    runs_of,
    surroundings,
    tell,
)
from benchmarks.items import Items, agnews, agnews_file
from benchmarks.predictors import OnnxRuntime, Pennyweight, Pipeline

NAME = "inference"
BATCH_SIZE = 32
RATIOS = (
    ("bf16", "pipeline_sorted"),
    ("int8", "onnxruntime_int8"),
    ("bf16", "pipeline"),
    ("bf16", "onnxruntime_int8"),
    ("int8", "bf16"),
)
WAYS: Mapping[str, str] = {
    "pipeline": "pipeline() on a list of texts, as people call it",
    "pipeline_sorted": f"pipeline(batch_size={BATCH_SIZE}) on texts sorted by length",
    "onnxruntime_int8": "ONNX Runtime, int8 weights, dynamic activations, texts sorted by length",
    "bf16": "Pennyweight, bf16; fp32 where the machine has no instructions for bf16",
    "int8": "Pennyweight, int8",
}


@dataclass(frozen=True)
class Size:
    """How much is trained and measured."""

    training: int
    epochs: int
    test: int | None
    steps: Mapping[str, int]
    """A turn is every so many-th test item."""
    rounds: int


FULL = Size(10_000, 2, None, {"pipeline": 12, "pipeline_sorted": 4, "onnxruntime_int8": 2, "bf16": 2, "int8": 2}, 7)
QUICK = Size(256, 1, 96, {"pipeline": 12, "pipeline_sorted": 4, "onnxruntime_int8": 1, "bf16": 1, "int8": 1}, 1)


def main() -> None:
    """Train if need be, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--backbone", default="minilm", help="alias or folder (default: minilm)")
    parser.add_argument("--rounds", type=int, help=f"turns of each contender (default: {FULL.rounds})")
    parser.add_argument("--only", choices=list(WAYS), action="append", help="this one; repeatable; nothing is kept")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    data = data_folder()
    name = Path(options.backbone).name + ("-quick" if options.quick else "")
    items = agnews(data, "test", count=size.test)
    made = factories(options.backbone, data, size, items, runs_of(NAME) / name)
    chosen = {name: way for name, way in made.items() if name in (options.only or WAYS)}
    content = measure(options.backbone, size, items, chosen, rounds=options.rounds or size.rounds)
    if not options.quick and not options.only:
        keep(kept_as(NAME), content)
    print(json.dumps(content) if options.json else "\n".join(lines(content)))


def measure(backbone: str, size: Size, items: Items, made: Mapping[str, Any], *, rounds: int) -> dict[str, Any]:
    """Ways of predicting, in turns."""
    with apart(made) as predictors:
        accuracy = {name: predictor.call("accuracy") for name, predictor in predictors.items()}
        described = {name: predictor.call("describe") for name, predictor in predictors.items()}
        tell(", ".join(f"{name} {100 * value:.2f} %" for name, value in accuracy.items()))
        turns: dict[str, Contender] = {name: partial(one.call, "turn") for name, one in predictors.items()}
        measured = alternate(turns, rounds, say=tell)
    pairs = [(name, other) for name, other in RATIOS if name in made and other in made]
    ratios = {f"{name}/{other}": measured.ratio(name, other) for name, other in pairs}
    return {
        "benchmark": NAME,
        **surroundings(("onnxruntime", "torchao")),
        "settings": {
            "backbone": backbone,
            "trained_on": size.training,
            "test_items": len(items),
            "items_per_turn": {name: len(items.every(size.steps[name])) for name in made},
            "rounds": rounds,
        },
        "ratios": {name: ratio["median"] for name, ratio in ratios.items()},
        "ratio_spread": ratios,
        "contenders": {
            name: {
                "what": WAYS[name],
                "examples_per_second": measured.spread(name),
                "accuracy": accuracy[name],
                **described[name],
            }
            for name in predictors
        },
    }


def factories(backbone: str, data: Path, size: Size, items: Items, folder: Path) -> dict[str, Any]:
    """How each contender is made, in its own process; what it needs is made here, if it is not there yet."""
    recipe = recipe_for(
        backbone, agnews_file(data, "train"), items=size.training, learning_rate=2e-3, epochs=size.epochs
    )
    classifier = trained(recipe, folder / "classifier")
    plain = merged(classifier, Path(backbone_folder(backbone)), folder / "merged")
    onnx = onnx_int8(plain, folder / "onnx")
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "pipeline": (Pipeline, {"folder": plain, "batch_size": None}),
        "pipeline_sorted": (Pipeline, {"folder": plain, "batch_size": BATCH_SIZE}),
        "onnxruntime_int8": (OnnxRuntime, {"path": onnx, "tokenizer": plain}),
        "bf16": (Pennyweight, {"folder": classifier, "precision": float_format()}),
        "int8": (Pennyweight, {"folder": classifier, "precision": "int8"}),
    }
    return {name: (way, {**given, "items": items, "step": size.steps[name]}) for name, (way, given) in ways.items()}


def lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    told = [
        f"{name}: {one['examples_per_second']['median']:.1f} examples/s "
        f"({one['examples_per_second']['low']:.1f}–{one['examples_per_second']['high']:.1f}), "
        f"accuracy {100 * one['accuracy']:.2f} %"
        for name, one in content["contenders"].items()
    ]
    return told + [f"{name}: {ratio:.2f}×" for name, ratio in content["ratios"].items()]


if __name__ == "__main__":
    main()
