from __future__ import annotations

from typing import get_args

import pytest
import torch
from tiny import config_of

from pennyweight.budget.backbones import read_config
from pennyweight.budget.known import architecture_of
from pennyweight.budget.memory import STATE_BYTES, backbone_bytes
from pennyweight.budget.memory import state_bytes as planned_bytes
from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.shapes import read_architecture
from pennyweight.recipe import OptimizerName


def test_dense_formats_are_counted_by_their_width():
    architecture = read_architecture(config_of("roberta"), classes=3)
    found = backbone_bytes(architecture.total, architecture.matrices)
    assert found["fp32"] == 4 * architecture.total
    assert found["bf16"] == 2 * architecture.total


def test_roberta_base_in_four_bits_is_below_two_fifths():
    architecture = architecture_of(read_config("roberta-base"), classes=4)
    found = backbone_bytes(architecture.total, architecture.matrices)
    inside = 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert found["nf4"] == inside // 2 + inside // 64 + inside // 64 // 256 * 4 + 2 * (architecture.total - inside)
    assert found["nf4"] / found["fp32"] == pytest.approx(0.246, abs=0.002)


def test_counted_is_what_is_built(tiny_roberta):
    pytest.importorskip("bitsandbytes")
    from dataclasses import replace

    from pennyweight.model.backbone import find_backbone, load_backbone
    from pennyweight.model.device import Machine
    from pennyweight.model.memory import weight_bytes

    architecture = read_architecture(config_of("roberta"), classes=3)
    counted = backbone_bytes(architecture.total, architecture.matrices)
    machine = Machine(torch.device("cpu"), torch.bfloat16, "sdpa")
    for name, own in {"bf16": machine, "nf4": replace(machine, four_bits=True)}.items():
        model = load_backbone(
            find_backbone(str(tiny_roberta)), own, stock_head_classes=None, keep_dropout=False, head_dropout=None
        )
        apart = sum(buffer.nbytes for buffer in model.buffers())
        tables = 12 * 2 * 1100 + 12 * 300 if name == "nf4" else 0  # the 8-bit scales' code, one each, and alignment
        assert counted[name] <= weight_bytes(model) - apart <= counted[name] + tables


def test_every_optimizer_is_known():
    assert STATE_BYTES.keys() == set(get_args(OptimizerName))


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_state_is_what_the_optimizer_keeps(name):
    if name == "adamw-8bit":
        pytest.importorskip("bitsandbytes")
    from pennyweight.model.memory import state_bytes
    from pennyweight.training.optimizers import make_optimizers

    parameter = torch.nn.Parameter(torch.randn(256, 256))
    options = {"learning_rate": 0.1, "betas": (0.9, 0.9), "epsilon": 1e-8, "weight_decay": 0.0}
    optimizers = make_optimizers(name, {"one": parameter}, **options)
    parameter.grad = torch.randn(256, 256)
    for optimizer in optimizers:
        optimizer.step()
    assert state_bytes(optimizers) == pytest.approx(STATE_BYTES[name] * parameter.numel(), rel=0.04)


def test_small_factors_are_not_kept_in_eight_bits():
    """As the library has it: of roberta-base's rank 4 none is, of rank 12 all are."""
    low, high = (PlannedMatrix("query", 768, 768, 0, rank, 8.0) for rank in (4, 12))
    assert (
        planned_bytes("adamw-8bit", [low], others=[10])
        == planned_bytes("adamw", [low], others=[10])
        == 8 * (low.parameters + 10)
    )
    assert planned_bytes("adamw-8bit", [high]) == pytest.approx((2 + 1 / 32) * high.parameters)
    assert planned_bytes("sgd", [low, high], others=[100]) == 4 * (low.parameters + high.parameters + 100)
