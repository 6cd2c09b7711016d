"""The contenders of the training measurement really learn, and learn the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from worded import items, write_data

from benchmarks import peers
from benchmarks.contenders import PennyweightLearner, recipe_for, upper_half
from benchmarks.items import agnews_file
from benchmarks.peers import BATCH_SIZE, EXPERT, NOTEBOOK, TUNED, Flags, TrainerLearner, build_model, on_this_machine
from pennyweight.model.device import choose_machine
from pennyweight.pipeline import workbench

COUNT = 100
RATE = 1e-2


@pytest.fixture(autouse=True, scope="module")
def leave_no_state():
    yield
    forget()


def forget() -> None:
    """Accelerate keeps one number format for all, which the measurement keeps apart by processes."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return agnews_file(write_data(tmp_path_factory.mktemp("data"), train=COUNT, test=8), "train")


def trainer(backbone, flags: Flags) -> TrainerLearner:
    forget()
    return TrainerLearner(str(backbone), items(COUNT), items(COUNT), flags, learning_rate=RATE)


def pennyweight(backbone, source, **changes) -> PennyweightLearner:
    forget()
    recipe = recipe_for(str(backbone), source, items=COUNT, learning_rate=RATE, **changes)
    return PennyweightLearner(recipe, items(COUNT))


def frozen(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}


def test_nobody_is_made_to_compute_in_bf16_without_instructions_for_it(monkeypatch):
    monkeypatch.setattr(peers, "float_format", lambda: "bf16")
    assert on_this_machine(EXPERT) == EXPERT
    monkeypatch.setattr(peers, "float_format", lambda: "fp32")
    plain = on_this_machine(EXPERT)
    assert (plain.frozen, dict(plain.arguments)) == ("fp32", {"train_sampling_strategy": "group_by_length"})
    assert replace(plain, frozen="bf16", arguments=EXPERT.arguments) == EXPERT


@pytest.mark.parametrize("flags", [NOTEBOOK, TUNED, EXPERT, replace(EXPERT, input_cast=False)])
def test_trainer_learns_and_leaves_the_backbone_alone(tiny_bert, flags):
    learner = trainer(tiny_bert, flags)
    before, untouched = learner.loss(), frozen(learner._model)
    for _ in range(8):
        share = learner.learn()
        assert share.work == COUNT
    assert learner.loss() < before - 0.1
    assert all(torch.equal(untouched[name], value) for name, value in frozen(learner._model).items())


@pytest.mark.parametrize("targets", ["usual", "all-linear", "upper half"])
def test_pennyweight_learns(tiny_bert, source, targets):
    chosen = {"usual": {}, "all-linear": {"targets": "all-linear"}, "upper half": {"targets": upper_half(2)}}[targets]
    learner = pennyweight(tiny_bert, source, **chosen)
    before = learner.loss()
    for _ in range(8):
        assert learner.learn().work == COUNT
    assert learner.loss() < before - 0.1
    assert learner.describe()["layers_adapted"] == ([1] if targets == "upper half" else [0, 1])


def test_pennyweights_machine_is_that_of_its_recipe(tiny_bert, source, monkeypatch):
    """With dropout no texts are packed: so the machine is chosen as in a run."""
    packable = []

    def seen(**given):
        packable.append(given["packable"])
        return choose_machine(**given)

    monkeypatch.setattr(workbench, "choose_machine", seen)
    for dropout in (False, True):
        pennyweight(tiny_bert, source, dropout=dropout)
    assert packable == [True, False]


def test_a_turn_may_be_a_few_batches(tiny_bert, source):
    assert trainer(tiny_bert, TUNED).learn(2).work == 2 * BATCH_SIZE
    learner = pennyweight(tiny_bert, source)
    assert learner.learn(2).work == 2 * BATCH_SIZE
    assert learner.learn().work == COUNT  # from where it stopped, as many batches as a pass has


def test_all_train_the_same_parameters(tiny_bert, source):
    ours = pennyweight(tiny_bert, source).describe()["trainable"]
    assert {trainer(tiny_bert, flags).describe()["trainable"] for flags in (NOTEBOOK, TUNED, EXPERT)} == {ours}
    tensors = sorted(
        tuple(p.shape) for p in build_model(str(tiny_bert), EXPERT).parameters() if p.requires_grad and p.numel() > 4
    )
    mine = pennyweight(tiny_bert, source)._bench.network.trainable().values()
    assert tensors == sorted(tuple(p.shape) for p in mine if p.numel() > 4)


def test_expert_has_all_that_can_be_set_from_outside(tiny_bert):
    model = build_model(str(tiny_bert), EXPERT)
    assert model.config._attn_implementation == "eager"
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    plain = build_model(str(tiny_bert), NOTEBOOK)
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    assert {m.p for m in plain.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_full_fine_tuning_trains_everything(tiny_bert):
    model = build_model(str(tiny_bert), replace(TUNED, adapters=False))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_notebook_pads_to_128_and_tuned_to_the_batch(tiny_bert):
    widths = {}
    for name, flags in (("notebook", NOTEBOOK), ("tuned", TUNED)):
        loader = trainer(tiny_bert, flags)._trainer.get_train_dataloader()
        widths[name] = {batch["input_ids"].shape[1] for batch in loader}
    assert widths["notebook"] == {128}
    assert len(widths["tuned"]) > 1
    assert max(widths["tuned"]) < 128


def test_a_kept_prefix_is_not_counted_as_needed(tiny_bert, source):
    """Layer 0 of 2 is neither computed nor counted when only layer 1 is adapted."""
    whole, upper = pennyweight(tiny_bert, source), pennyweight(tiny_bert, source, targets=upper_half(2))
    assert (whole.describe()["prefix_kept"], upper.describe()["prefix_kept"]) == (False, True)
    assert upper.needed_per_pass() < 0.5 * whole.needed_per_pass()


def test_the_rate_decays_over_each_pass(tiny_bert, source):
    learner = pennyweight(tiny_bert, source)
    rates = [next(iter(learner.steps())).learning_rate for _ in range(6)]
    assert rates == pytest.approx([RATE * share for share in (1, 0.75, 0.5, 0.25, 1, 0.75)])
    twice = pennyweight(tiny_bert, source, epochs=2)
    assert twice.total_steps == 8
    assert [report.learning_rate for report in twice.steps()] == pytest.approx([RATE * (1 - k / 8) for k in range(8)])
