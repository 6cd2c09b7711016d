from __future__ import annotations

import numpy as np
import pytest

from pennyweight.errors import RunError
from pennyweight.evaluation.calibration import BOUNDS, fit_temperature
from pennyweight.evaluation.decisions import sigmoid
from pennyweight.evaluation.metrics import StreamingMetrics, log_softmax


def _drawn(items, classes=4, sharpness=2.0, seed=0):
    """Logits that are calibrated by construction: each label is drawn from its own softmax."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(items, classes)) * sharpness
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits + noise).argmax(1)


def _loss(logits, labels, temperature):
    return -log_softmax(logits, temperature)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("temperature", [0.2, 0.7, 1.0, 3.0, 8.0])
def test_finds_the_temperature_that_the_logits_were_scaled_by(temperature):
    logits, labels = _drawn(20_000)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.03)


def test_no_temperature_on_a_grid_fits_better():
    logits, labels = _drawn(3000, seed=1)
    found = fit_temperature(logits * 2.5, labels)
    best = min(_loss(logits * 2.5, labels, t) for t in np.geomspace(*BOUNDS, 400))
    assert _loss(logits * 2.5, labels, found) <= best + 1e-4


def test_scaling_on_one_half_makes_confidences_of_the_other_honest():
    logits, labels = _drawn(8000, seed=2)
    logits *= 3
    metrics = StreamingMetrics("abcd", temperature=fit_temperature(logits[:4000], labels[:4000]))
    metrics.update(logits[4000:], labels[4000:])
    found = metrics.result(resamples=10)
    assert found.ece_uncalibrated > 0.1
    assert found.ece < 0.03
    assert found.log_loss < found.log_loss_uncalibrated


@pytest.mark.parametrize("items", [1, 10, 100, 5000])
def test_all_right_is_no_reason_to_be_certain(items):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, items)
    logits = generator.normal(size=(items, 4))
    logits[np.arange(items), labels] += 10
    temperature = fit_temperature(logits, labels)
    confidence = np.exp(log_softmax(logits, temperature)).max(1).mean()
    assert BOUNDS[0] < temperature < BOUNDS[1]
    # As the rule of succession has it: about one in n + 1 may yet go wrong.
    assert 1 - 2 / (items + 1) < confidence < 1


def test_all_wrong_ends_at_the_upper_bound():
    labels = np.zeros(50, dtype=int)
    logits = np.tile([-30.0, 30.0], (50, 1))
    assert fit_temperature(logits, labels) == pytest.approx(BOUNDS[1], rel=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_logits_stay_within_the_bounds(scale):
    logits, labels = _drawn(100)
    assert BOUNDS[0] <= fit_temperature(logits * scale, labels) <= BOUNDS[1]


def test_nothing_to_fit_leaves_confidences_alone():
    assert fit_temperature(np.empty((0, 4)), np.empty(0, dtype=int)) == 1.0
    assert fit_temperature(np.ones((5, 3)), np.array([0, 1, 2, 0, 1])) == 1.0


def test_predictions_do_not_change():
    logits, labels = _drawn(200)
    temperature = fit_temperature(logits, labels)
    assert (log_softmax(logits, temperature).argmax(1) == logits.argmax(1)).all()


def test_outputs_that_are_not_finite_stop_the_run():
    with pytest.raises(RunError, match="not finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))


def _drawn_sets(items, sharpness=2.0):
    """Logits of several labels that are calibrated by construction."""
    generator = np.random.default_rng(4)
    logits = generator.normal(size=(items, 5)) * sharpness - 1
    return logits, generator.random(logits.shape) < sigmoid(logits)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_of_several_labels_each_is_calibrated_for_itself(temperature):
    logits, labels = _drawn_sets(10_000)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.03)


def test_of_several_labels_no_temperature_on_a_grid_fits_better():
    logits, labels = _drawn_sets(2000)

    def loss(temperature):
        scaled = 2.5 * logits / temperature
        return -np.log(sigmoid(np.where(labels, scaled, -scaled))).mean()

    found = fit_temperature(2.5 * logits, labels)
    assert loss(found) <= min(map(loss, np.geomspace(0.3, 20, 200))) + 1e-4


def test_of_several_labels_the_hopeless_cases_are_bounded():
    logits = np.tile([[3.0, -3.0], [-2.0, 2.0]], (50, 1))
    assert BOUNDS[0] <= fit_temperature(logits, logits > 0) < 1
    assert fit_temperature(np.zeros((4, 2)), np.ones((4, 2), dtype=bool)) == 1
    assert fit_temperature(np.zeros((0, 2)), np.ones((0, 2), dtype=bool)) == 1
    with pytest.raises(RunError, match="not finite"):
        fit_temperature(np.full((2, 2), np.nan), np.ones((2, 2), dtype=bool))
