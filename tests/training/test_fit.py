from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from pennyweight.data.batches import TokenTable
from pennyweight.errors import RunError
from pennyweight.training.feeding import Course, Feeder
from pennyweight.training.fit import CHECKPOINT, LOG, Conduct, Fit
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import one_pass, supervised
from pennyweight.training.optimizers import make_optimizers
from pennyweight.training.selection import Selection

COURSE = Course(items=40, epochs=3, batch_size=5, accumulation=1, validations_per_epoch=1, order="shuffled", seed=1)


class Counter(nn.Module):
    """Logits from how often each token occurs, so that anything can be learnt of it in a few steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(20, 3)

    def forward(self, input_ids, attention_mask):
        counts = nn.functional.one_hot(input_ids.clamp(max=19), 20) * attention_mask.unsqueeze(-1)
        return self.out(counts.sum(dim=1).float())


def feeder() -> Feeder:
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 19, size=COURSE.items * 4).astype(np.int32)
    table = TokenTable(ids=ids, offsets=np.arange(0, len(ids) + 1, 4), full_lengths=np.full(COURSE.items, 4))
    labels = ids.reshape(-1, 4)[:, 0].astype(np.int64) % 3
    return Feeder(course=COURSE, table=table, labels=labels, pad_id=19, length=None, device=torch.device("cpu"))


def fit(folder: Path, *, scores=None, learning_rate: float = 0.1, **changes) -> Fit:
    folder.mkdir(exist_ok=True)
    network, accelerator = Counter(), Accelerator(cpu=True)
    optimizers = make_optimizers(
        "adamw",
        dict(network.named_parameters()),
        learning_rate=learning_rate,
        betas=(0.9, 0.999),
        epsilon=1e-8,
        weight_decay=0.0,
    )
    network, *optimizers = accelerator.prepare(network, *optimizers)
    conduct = {
        "schedule": "constant",
        "warmup": 0.0,
        "cycles": 1,
        "plateau_patience": 1,
        "gradient_clip": None,
        "selection": Selection("accuracy"),
        "keep": "best",
        "checkpoint_steps": 5,
        **changes,
    }
    values = iter(scores) if scores is not None else None
    return Fit(
        network=network,
        optimizers=optimizers,
        objective=one_pass(supervised(item_loss("cross-entropy"))),
        feeder=feeder(),
        conduct=Conduct(**conduct),
        accelerator=accelerator,
        folder=folder,
        validate=None if values is None else lambda: {"accuracy": next(values)},
    )


def weights(run: Fit) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in run.network.parameters()])


def silent(_event, _progress) -> None: ...


def steps_in(folder: Path) -> list[int]:
    records = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [record["step"] for record in records if record["event"] == "step"]


def test_the_weights_of_the_best_validation_come_back(tmp_path):
    seen = {}

    def listen(event, progress):
        if not isinstance(event, dict):
            seen[progress.next_step] = weights(run)

    run = fit(tmp_path, scores=[0.5, 0.9, 0.7])
    fitted = run.run(listen)
    assert (fitted.best_step, fitted.steps, fitted.stopped_early) == (16, 24, False)
    assert torch.equal(weights(run), seen[16])
    assert not torch.equal(seen[16], seen[24])


def test_the_last_weights_where_they_are_asked_for_or_nothing_was_validated(tmp_path):
    runs = [fit(tmp_path / "a", scores=[0.5, 0.9, 0.7], keep="last"), fit(tmp_path / "b")]
    for run in runs:
        assert run.run(silent).best_step is None
    assert torch.equal(weights(runs[0]), weights(runs[1]))


def test_validation_does_not_touch_the_training(tmp_path):
    """Random numbers drawn while validating, and eval mode left on, change nothing that follows."""
    run = fit(tmp_path / "a", scores=[0.1, 0.2, 0.3])
    plain = run.validate

    def disturbing():
        torch.randn(100)
        run.network.eval()
        return plain()

    run.validate = disturbing
    run.run(silent)
    other = fit(tmp_path / "b", scores=[0.1, 0.2, 0.3])
    other.run(silent)
    assert torch.equal(weights(run), weights(other))


@pytest.mark.parametrize("last", [1, 5, 7, 8, 13, 23])
def test_steps_behind_the_checkpoint_are_taken_again_and_logged_once(last, tmp_path):
    whole = fit(tmp_path / "whole", scores=[0.5, 0.9, 0.7])
    whole.run(silent)

    class Power(Exception):  # noqa: N818 - it is a failure of the mains
        pass

    def listen(_event, progress):
        if progress.next_step == last:
            raise Power

    with pytest.raises(Power):
        fit(tmp_path / "cut", scores=[0.5, 0.9, 0.7]).run(listen)
    assert max(steps_in(tmp_path / "cut")) == last
    left = [0.5, 0.9, 0.7][(last - 1) // 8 :] if (tmp_path / "cut" / CHECKPOINT).exists() else [0.5, 0.9, 0.7]
    resumed = fit(tmp_path / "cut", scores=left)
    fitted = resumed.run(silent)
    assert steps_in(tmp_path / "cut") == list(range(1, 25))
    assert torch.equal(weights(resumed), weights(whole))
    assert fitted.best_step == 16


def test_a_run_that_had_stopped_early_stays_stopped(tmp_path):
    selection = Selection("accuracy", patience=1)
    run = fit(tmp_path, scores=[0.9, 0.1], selection=selection)
    assert run.run(silent).stopped_early
    again = fit(tmp_path, scores=[], selection=selection)
    fitted = again.run(silent)
    assert (fitted.steps, fitted.best_step, fitted.stopped_early) == (16, 8, True)
    assert torch.equal(weights(again), weights(run))


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_run_that_diverges_stops_and_says_what_to_do(loss, tmp_path):
    run, losses = fit(tmp_path), iter([1.0] * 6 + [loss] * 18)
    plain = run.objective
    run.objective = lambda logits, labels: plain(logits, labels) * next(losses)
    with pytest.raises(RunError, match=f"loss became {loss} at step 7: training diverged; lower the learning rate"):
        run.run(silent)
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5, 6]
    kept = load_file(tmp_path / CHECKPOINT)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_it_also_runs_where_no_signal_can_be_heard(tmp_path):
    main, other = fit(tmp_path / "main"), fit(tmp_path / "other")
    main.run(silent)
    thread = threading.Thread(target=other.run, args=(silent,))
    thread.start()
    thread.join()
    assert torch.equal(weights(main), weights(other))


def test_a_plateau_is_told_by_the_validations_that_count(tmp_path):
    rates = {}
    for skipped in (0, 1):
        seen = rates.setdefault(skipped, [])
        selection = Selection("accuracy", skipped=skipped)
        run = fit(tmp_path / str(skipped), scores=[0.9, 0.5, 0.6], schedule="plateau", selection=selection)
        run.run(lambda event, _progress, seen=seen: isinstance(event, dict) or seen.append(event.learning_rate))
    assert rates[1] == [rates[1][0]] * len(rates[1])
    assert rates[0][-1] == rates[0][0] / 2
