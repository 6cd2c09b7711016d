"""AdaLoRA's part of training: the penalty, the course of ranks, and what a checkpoint has to hold of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent.parent / "model"))

import itertools

from test_kinds import build, table

from pennyweight.data.batches import collate
from pennyweight.model.kinds import Pruning
from pennyweight.training.batch import Batch
from pennyweight.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import one_pass, supervised
from pennyweight.training.optimizers import make_optimizers
from pennyweight.training.pruning import orthogonal, prune_behind

STEPS = 20  # what `build` plans for: pruned between steps 3 and 14, from rank 3 to 1


def cross_entropy():
    return one_pass(supervised(item_loss("cross-entropy")))


def prepared(folder, optimizer="adamw"):
    network, _ = build(folder, "adalora")
    options = {"learning_rate": 1e-2, "betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.0}
    optimizers = make_optimizers(optimizer, network.trainable(), **options)
    prune_behind(optimizers, network.encoder, Pruning(1, total=STEPS, between=(0.15, 0.7)))
    return network.train(), optimizers


def batch_of(folder, step: int) -> Batch:
    tokens, pad_id = table(folder)
    items = np.arange(8) + step
    return Batch(collate(tokens, items % 30, pad_id=pad_id), torch.from_numpy(items % 3))


def walk(network, optimizers, folder, steps):
    objective, kept = cross_entropy(), []
    for step in steps:
        objective(network, batch_of(folder, step)).mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        kept.append(sum(int((p != 0).sum()) for n, p in network.trainable().items() if "lora_E" in n))
    return kept


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_ranks_fall_from_the_first_to_the_final_and_stay(optimizer, tiny_bert):
    network, optimizers = prepared(tiny_bert, optimizer)
    kept = walk(network, optimizers, tiny_bert, range(STEPS))
    assert kept[:3] == [36] * 3
    assert kept[3] < 36
    assert all(later <= earlier for earlier, later in itertools.pairwise(kept))
    assert kept[13:] == [12] * 7  # twelve matrices, one rank each on average
    assert max(kept[4:12]) > 12


@pytest.mark.parametrize("stop", [2, 8, 14, 17])
def test_stopped_and_gone_on_with_it_is_the_same(stop, tiny_bert, tmp_path):
    """Stopped before, while, at the very end of and after pruning."""
    whole, optimizers = prepared(tiny_bert)
    walk(whole, optimizers, tiny_bert, range(STEPS))
    first, optimizers = prepared(tiny_bert)
    walk(first, optimizers, tiny_bert, range(stop))
    path = tmp_path / "checkpoint.safetensors"
    parameters = first.trainable()
    save_checkpoint(path, parameters=parameters, best={}, optimizers=optimizers, progress=Progress())
    again, optimizers = prepared(tiny_bert)
    load_checkpoint(path, parameters=again.trainable(), optimizers=optimizers)
    walk(again, optimizers, tiny_bert, range(stop, STEPS))
    for name, parameter in whole.trainable().items():
        assert torch.equal(parameter, again.trainable()[name]), name


def test_the_penalty_is_the_mean_distance_from_orthogonal_factors(tiny_bert):
    network, _ = build(tiny_bert, "adalora")
    batch = batch_of(tiny_bert, 0)
    plain, weighted = cross_entropy(), orthogonal(cross_entropy(), network.encoder, weight=0.25)
    distances = []
    for name, parameter in network.trainable().items():
        if "lora_A" in name or "lora_B" in name:
            square = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
            distances.append((square - torch.eye(3)).square().sum().sqrt())
    network.eval()
    difference = weighted(network, batch) - plain(network, batch)
    torch.testing.assert_close(difference, 0.25 * torch.stack(distances).mean().expand(8))
    with torch.no_grad():
        for name, parameter in network.trainable().items():
            if "lora_A" in name:
                parameter.copy_(torch.linalg.qr(parameter.T)[0].T)
            elif "lora_B" in name:
                parameter.copy_(torch.linalg.qr(parameter)[0])
    torch.testing.assert_close(weighted(network, batch), plain(network, batch), atol=1e-5, rtol=1e-5)


def test_the_penalty_alone_makes_factors_orthogonal(tiny_bert):
    network, optimizers = prepared(tiny_bert)
    objective = orthogonal(
        lambda _network, batch: functional.one_hot(batch.labels).sum(1) * 0.0, network.encoder, weight=1.0
    )
    values = []
    for step in range(2):
        loss = objective(network, batch_of(tiny_bert, step)).mean()
        values.append(float(loss))
        (loss + 0 * sum(p.sum() for p in network.trainable().values())).backward()
        optimizers[0].step()
        optimizers[0].zero_grad(set_to_none=True)
    assert values[1] < values[0]


@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 12345])
def test_there_is_always_room_for_pruning(total):
    pruning = Pruning(2, total=total, between=(0.15, 0.7))
    assert 0 <= pruning.first < pruning.last <= total
    if total > 10:
        assert pruning.first == int(0.15 * total)
        assert pruning.last == int(0.7 * total)
