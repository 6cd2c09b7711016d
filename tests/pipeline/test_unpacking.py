"""What a recipe says reaches what computes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pennyweight.pipeline.unpacking import course_of, objective_of
from pennyweight.training.batch import Batch
from pennyweight.training.losses import item_loss, penalty_of
from pennyweight.training.several_labels import binary_loss

OPTIONS = [
    ({"training": {"label_smoothing": 0.2}}, {"label_smoothing": 0.2}),
    ({"objective": {"class_weights": [1, 2, 4]}}, {"class_weights": [1, 2, 4]}),
    ({"objective": {"loss": "gce", "q": 0.3}}, {"name": "gce", "q": 0.3}),
    ({"objective": {"loss": "focal", "gamma": 0.7}}, {"name": "focal", "gamma": 0.7}),
]


def found_by(recipe, logits, labels, *, learnt=None):
    """The objective of a recipe, of a network that answers with what it is given."""
    feeder = SimpleNamespace(labels=labels.numpy() if learnt is None else learnt, extras={})
    objective = objective_of(recipe, feeder, classes=logits.shape[1])
    return objective(torch.nn.Identity(), Batch({"input": logits}, labels))


@pytest.mark.parametrize(("changes", "options"), OPTIONS)
def test_every_setting_reaches_the_loss_of_one_class(changes, options, make_recipe):
    logits, labels = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(3)
    expected = item_loss(**{"name": "cross-entropy", **options})(logits, labels)
    torch.testing.assert_close(found_by(make_recipe(**changes), logits, labels), expected)


@pytest.mark.parametrize(("changes", "options"), OPTIONS)
def test_every_setting_reaches_the_loss_of_several_labels(changes, options, make_recipe):
    logits, labels = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3, dtype=torch.bool)
    penalty = penalty_of(options.get("name", "cross-entropy"), gamma=options.get("gamma", 2.0), q=options.get("q", 0.7))
    expected = binary_loss(
        penalty,
        label_smoothing=options.get("label_smoothing", 0.0),
        positive_weights=options.get("class_weights"),
    )(logits, labels)
    recipe = make_recipe(**changes, data={"task": "multi-label"})
    torch.testing.assert_close(found_by(recipe, logits, labels), expected)


def test_weights_of_several_labels_are_counted_over_the_items(make_recipe):
    """A label that one of four items has weighs 3, one that three have a third."""
    recipe = make_recipe(data={"task": "multi-label"}, objective={"class_weights": "balanced"})
    learnt = np.array([[True, False]] + [[False, True]] * 3)
    found = found_by(recipe, torch.zeros(1, 2), torch.tensor([[True, True]]), learnt=learnt)
    assert found.item() == pytest.approx(np.log(2) * (3 + 1 / 3) / 2)


def test_the_sampler_is_the_recipe_s(make_recipe):
    assert course_of(make_recipe(training={"sampler": "balanced"}), items=9).sampler == "balanced"
