from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pennyweight.errors import RunError
from pennyweight.recipe import OptimizerName
from pennyweight.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from pennyweight.training.optimizers import make_optimizers

NAMES = get_args(OptimizerName)
INPUTS = torch.linspace(-1, 1, 40).reshape(8, 5)


def prepared(name: str):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))
    made = make_optimizers(
        name,
        dict(network.named_parameters()),
        learning_rate=0.01,
        betas=(0.9, 0.99),
        epsilon=1e-8,
        weight_decay=0.1,
    )
    network, *optimizers = Accelerator(cpu=True).prepare(network, *made)
    return network, optimizers


def steps(network, optimizers, count: int) -> None:
    for _ in range(count):
        network(INPUTS).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def save(path, network, optimizers, *, best=None, progress=None) -> None:
    save_checkpoint(
        path,
        parameters=dict(network.named_parameters()),
        best=best or {},
        optimizers=optimizers,
        progress=progress or Progress(),
    )


@pytest.mark.parametrize("name", NAMES)
def test_going_on_from_a_checkpoint_is_going_on(name, tmp_path):
    network, optimizers = prepared(name)
    steps(network, optimizers, 5)
    save(tmp_path / "c", network, optimizers)
    at_save = copy.deepcopy(network.state_dict())
    steps(network, optimizers, 5)

    fresh, fresh_optimizers = prepared(name)
    load_checkpoint(tmp_path / "c", parameters=dict(fresh.named_parameters()), optimizers=fresh_optimizers)
    assert all(torch.equal(tensor, at_save[key]) for key, tensor in fresh.state_dict().items())
    steps(fresh, fresh_optimizers, 5)
    assert all(torch.equal(tensor, fresh.state_dict()[key]) for key, tensor in network.state_dict().items())

    # The check is worth something: without the optimizer's state the steps differ.
    bare, bare_optimizers = prepared(name)
    bare.load_state_dict(at_save)
    steps(bare, bare_optimizers, 5)
    assert not all(torch.equal(tensor, bare.state_dict()[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_the_optimizers_state_comes_back_whole(name, tmp_path):
    network, optimizers = prepared(name)
    steps(network, optimizers, 3)
    save(tmp_path / "c", network, optimizers)
    fresh, fresh_optimizers = prepared(name)
    load_checkpoint(tmp_path / "c", parameters=dict(fresh.named_parameters()), optimizers=fresh_optimizers)
    for one, other in zip(optimizers, fresh_optimizers, strict=True):
        saved, loaded = one.state_dict(), other.state_dict()
        assert saved["param_groups"] == loaded["param_groups"]
        assert saved["state"].keys() == loaded["state"].keys()
        for number, state in saved["state"].items():
            for key, value in state.items():
                if value is not None:
                    torch.testing.assert_close(loaded["state"][number][key], value, rtol=0, atol=0)


def test_a_checkpoint_before_the_first_step(tmp_path):
    network, optimizers = prepared("adamw")
    save(tmp_path / "c", network, optimizers)
    progress, best = load_checkpoint(tmp_path / "c", parameters=dict(network.named_parameters()), optimizers=optimizers)
    assert progress == Progress()
    assert best == {}


def test_progress_and_the_best_weights_come_back_exactly(tmp_path):
    network, optimizers = prepared("adamw")
    best = {key: torch.randn_like(value) for key, value in network.named_parameters()}
    progress = Progress(next_step=17, validations=(0.1, 1 / 3), best_step=12, log_lines=19, seconds=1.5)
    save(tmp_path / "c", network, optimizers, best=best, progress=progress)
    parameters = dict(network.named_parameters())
    read, loaded = load_checkpoint(tmp_path / "c", parameters=parameters, optimizers=optimizers)
    assert read == progress
    assert loaded.keys() == best.keys()
    assert all(torch.equal(loaded[key], best[key]) for key in best)
    assert not any(torch.equal(parameters[key], best[key]) for key in best)


def test_a_checkpoint_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    network, optimizers = prepared("adamw")
    for _ in range(3):
        steps(network, optimizers, 1)
        save(tmp_path / "c", network, optimizers)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("harm", ["truncated", "text", "empty", "no header"])
def test_a_damaged_checkpoint_is_refused(harm, tmp_path):
    network, optimizers = prepared("adamw")
    path = tmp_path / "c"
    save(path, network, optimizers)
    content = path.read_bytes()
    if harm == "no header":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes({"truncated": content[:-10], "text": b"hello", "empty": b""}[harm])
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(path, parameters=dict(network.named_parameters()), optimizers=optimizers)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    network, optimizers = prepared("adamw")
    save(tmp_path / "c", network, optimizers)
    other = {f"other.{key}": value for key, value in network.named_parameters()}
    with pytest.raises(RunError, match="belongs to another run"):
        load_checkpoint(tmp_path / "c", parameters=other, optimizers=optimizers)


def test_what_was_remembered_goes_by_name(tmp_path):
    """So that optimizers that group parameters otherwise find what is theirs."""
    network, optimizers = prepared("adamw")
    steps(network, optimizers, 3)
    save(tmp_path / "c", network, optimizers)
    parameters = dict(network.named_parameters())
    turned = torch.optim.AdamW(list(reversed(parameters.values())))
    load_checkpoint(tmp_path / "c", parameters=parameters, optimizers=[turned])
    for parameter in parameters.values():
        (state,) = (one.state[parameter] for one in optimizers)
        assert torch.equal(turned.state[parameter]["exp_avg"], state["exp_avg"])


def test_a_checkpoint_that_numbers_them_is_of_another_version(tmp_path):
    network, optimizers = prepared("adamw")
    steps(network, optimizers, 1)
    save(tmp_path / "c", network, optimizers)
    with safe_open(tmp_path / "c", framework="pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / "c")
    numbered = {name.replace("optimizer.0.weight", "optimizer.0.0"): tensor for name, tensor in tensors.items()}
    assert numbered.keys() != tensors.keys()
    save_file(numbered, tmp_path / "c", metadata=header)
    with pytest.raises(RunError, match="of another version"):
        load_checkpoint(tmp_path / "c", parameters=dict(network.named_parameters()), optimizers=optimizers)
