from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pennyweight.data.batches import TokenTable
from pennyweight.training.feeding import Course, Feeder
from pennyweight.training.loop import step_seed, training_steps
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import one_pass, supervised
from pennyweight.training.optimizers import make_optimizers

COURSE = Course(items=44, epochs=2, batch_size=8, accumulation=1, validations_per_epoch=1, order="shuffled", seed=1)


class Bag(nn.Module):
    """The mean of embeddings, then a linear map; half of it frozen."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.embedding = nn.Embedding(50, 12).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(12, 4)

    def forward(self, input_ids, attention_mask):
        weights = attention_mask.unsqueeze(-1)
        pooled = (self.embedding(input_ids.clamp(max=49)) * weights).sum(dim=1) / weights.sum(dim=1)
        return self.out(self.dropout(pooled))


def feeder(course: Course) -> Feeder:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 9, size=course.items)
    table = TokenTable(
        ids=generator.integers(0, 49, size=lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        full_lengths=lengths,
    )
    labels = generator.integers(0, 4, size=course.items)
    return Feeder(course=course, table=table, labels=labels, pad_id=49, length=None, device=torch.device("cpu"))


def run(course: Course = COURSE, *, dropout: float = 0.0, clip: float | None = None, first: int = 0, **options):
    network = options.pop("network", None) or Bag(dropout)
    name = options.pop("optimizer", "sgd")
    trained = {key: value for key, value in network.named_parameters() if value.requires_grad}
    optimizers = make_optimizers(name, trained, learning_rate=0.5, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.0)
    accelerator = Accelerator(cpu=True)
    prepared, *optimizers = accelerator.prepare(network, *optimizers)
    reports = list(
        training_steps(
            prepared,
            optimizers,
            one_pass(supervised(item_loss("cross-entropy"))),
            options.pop("steps", None) or feeder(course).steps(first),
            accelerator=accelerator,
            factor=options.pop("factor", lambda step: 1.0),
            gradient_clip=clip,
            seed=course.seed,
        )
    )
    return network, reports


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.out.parameters()])


@pytest.mark.parametrize(("size", "accumulation"), [(4, 2), (2, 4), (1, 8), (3, 3)])
def test_accumulation_changes_nothing_but_the_memory(size, accumulation):
    """The items of a step are the same ones, the short last step included, so the loss and the weights are too."""
    whole = replace(COURSE, batch_size=size * accumulation)
    one, one_reports = run(whole)
    other, reports = run(replace(whole, batch_size=size, accumulation=accumulation))
    assert [report.items for report in reports] == [report.items for report in one_reports]
    assert len(reports) == whole.total_steps
    np.testing.assert_allclose([r.loss for r in reports], [r.loss for r in one_reports], rtol=1e-5)
    torch.testing.assert_close(weights(other), weights(one), rtol=1e-4, atol=1e-6)
    assert not torch.equal(weights(one), weights(Bag()))


def test_one_step_is_what_torch_does():
    network, reference = Bag(), Bag()
    [(number, content)] = list(feeder(replace(COURSE, batch_size=44, epochs=1)).steps())
    _, [report] = run(network=network, steps=[(number, content)])
    [batch] = content.batches
    optimizer = torch.optim.SGD([p for p in reference.parameters() if p.requires_grad], lr=0.5, momentum=0.9)
    loss = nn.functional.cross_entropy(reference(**batch.inputs), batch.labels)
    loss.backward()
    optimizer.step()
    assert report.loss == pytest.approx(loss.item())
    gradients = torch.cat([parameter.grad.flatten() for parameter in reference.out.parameters()])
    assert report.gradient_norm == pytest.approx(gradients.norm().item(), rel=1e-5)
    torch.testing.assert_close(weights(network), weights(reference))


def test_what_is_frozen_never_changes():
    network, _ = run(optimizer="adamw")
    assert torch.equal(network.embedding.weight, Bag().embedding.weight)


def test_the_rate_is_the_peak_times_the_factor():
    factors = [0.1 * (step + 1) for step in range(12)]
    _, reports = run(factor=lambda step: factors[step])
    assert [report.learning_rate for report in reports] == pytest.approx([0.5 * factor for factor in factors])


def test_a_rate_of_zero_moves_nothing():
    network, _ = run(factor=lambda step: 0.0)
    assert torch.equal(weights(network), weights(Bag()))


def test_the_norm_is_reported_before_clipping_and_the_step_is_shorter():
    def first_step(clip):
        network = Bag()
        _, [report] = run(network=network, steps=list(feeder(COURSE).steps())[:1], clip=clip)
        return report.gradient_norm, (weights(network) - weights(Bag())).norm().item()

    norm, length = first_step(None)
    clipped_norm, clipped_length = first_step(norm / 4)
    assert clipped_norm == pytest.approx(norm)
    assert clipped_length == pytest.approx(length / 4, rel=1e-3)


def test_dropout_depends_on_the_step_alone():
    """The last steps taken by themselves draw what they drew within the whole run."""
    steps = list(feeder(COURSE).steps())
    network, reports = run(dropout=0.5, factor=lambda step: 0.0)
    _, last = run(dropout=0.5, factor=lambda step: 0.0, steps=steps[7:])
    assert [report.loss for report in last] == [report.loss for report in reports[7:]]
    _, without = run(factor=lambda step: 0.0)
    assert [report.loss for report in without] != [report.loss for report in reports]
    assert network.training


def test_seeds_of_steps_are_distinct():
    seeds = {step_seed(seed, step, process) for seed in range(8) for step in range(300) for process in range(8)}
    assert len(seeds) == 8 * 300 * 8
    assert step_seed(2**31 - 1, 10**6, 1000) < 2**63
