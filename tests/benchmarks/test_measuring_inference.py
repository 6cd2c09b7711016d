"""One classifier in every shape: all predict the same."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
from abilities import needs_int8
from accelerate.state import AcceleratorState
from worded import items, write_data

from benchmarks.contenders import recipe_for
from benchmarks.exports import merged, onnx_int8, trained
from benchmarks.inference import FULL, QUICK, RATIOS, WAYS
from benchmarks.items import LABELS, agnews_file
from benchmarks.predictors import OnnxRuntime, Pennyweight, Pipeline, Predictor
from pennyweight import Classifier

Shapes = namedtuple("Shapes", "classifier merged folder")
TEST = items(60, seed=1)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, tiny_bert):
    AcceleratorState._reset_state(reset_partial_state=True)
    folder = tmp_path_factory.mktemp("shapes")
    source = agnews_file(write_data(folder / "data", train=300, test=8), "train")
    recipe = recipe_for(str(tiny_bert), source, items=300, learning_rate=1e-2, epochs=12)
    classifier = trained(recipe, folder / "classifier")
    yield Shapes(classifier, merged(classifier, tiny_bert, folder / "merged"), folder)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def expected(shapes) -> list[int]:
    """What Pennyweight itself says; the adapters have learnt something, so that dropping them would show."""
    found = [LABELS.index(label) for label in Classifier.load(shapes.classifier).predict(TEST.texts)]
    assert np.mean(np.asarray(found) == np.asarray(TEST.labels)) > 0.6
    return found


def agreement(one, other) -> float:
    return float(np.mean(np.asarray(one) == np.asarray(other)))


@pytest.mark.parametrize("batch_size", [None, 32])
def test_the_merged_model_predicts_the_same_in_the_texts_order(shapes, expected, batch_size):
    found = Pipeline(TEST, 1, shapes.merged, batch_size)
    assert agreement(found.predict(TEST.texts), expected) >= 0.95  # bf16 there, fp32 here
    assert found.accuracy() == agreement(found.predict(TEST.texts), TEST.labels)


def test_the_quantised_export_predicts_nearly_the_same(shapes, expected):
    pytest.importorskip("onnxruntime", reason="the extra `benchmarks` is not installed")
    path = onnx_int8(shapes.merged, shapes.folder / "onnx")
    found = OnnxRuntime(TEST, 1, path, shapes.merged)
    assert agreement(found.predict(TEST.texts), expected) >= 0.9
    described = found.describe()
    assert set(described["examples_per_second_by_batch_size"]) == set(OnnxRuntime.SIZES)
    assert described["batch_size"] in OnnxRuntime.SIZES
    for size in OnnxRuntime.SIZES:
        assert agreement(found._predict(TEST.texts, size), expected) >= 0.9  # padding is masked, whatever the batch


def test_a_turn_is_every_so_many_th_item():
    class Echo(Predictor):
        def predict(self, texts):
            self.given = list(texts)
            return list(TEST.labels)[: len(texts)]

    echo = Echo(TEST, 7)
    assert echo.turn().work == len(TEST.texts[::7])
    assert echo.given == list(TEST.texts[::7])
    assert echo.accuracy() == 1.0
    assert echo.describe() == {}


def test_every_way_is_measured():
    assert set(WAYS) == set(FULL.steps) == set(QUICK.steps)
    assert {name for pair in RATIOS for name in pair} <= set(WAYS)
    assert {("bf16", "pipeline_sorted"), ("int8", "onnxruntime_int8")} <= set(RATIOS)


@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=needs_int8)])
def test_pennyweight_is_measured_in_the_format_asked_for(shapes, expected, precision):
    found = Pennyweight(TEST, 1, shapes.classifier, precision)
    assert found.describe() == {"precision": precision}
    assert agreement(found.predict(TEST.texts), expected) >= 0.9
