from __future__ import annotations

import pytest
import torch

from pennyweight.model import device as module
from pennyweight.model.device import choose_machine, fast_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("fast", "precision", "attention", "line"),
    [
        (True, "auto", "auto", "cpu, bf16, eager attention"),
        (False, "auto", "auto", "cpu, fp32, sdpa attention"),
        (True, "fp32", "auto", "cpu, fp32, sdpa attention"),
        (False, "bf16", "auto", "cpu, bf16, eager attention"),
        (True, "auto", "sdpa", "cpu, bf16, sdpa attention"),
        (False, "auto", "eager", "cpu, fp32, eager attention"),
    ],
)
def test_choices(fast, precision, attention, line, monkeypatch):
    monkeypatch.setattr(module, "fast_bf16", lambda _device: fast)
    assert choose_machine(precision=precision, attention=attention, device=CPU).line() == line


@pytest.mark.parametrize(
    ("abilities", "fast"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)],
)
def test_what_the_cpu_says_decides(abilities, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert fast_bf16(CPU) is fast


def test_an_unknown_device_is_not_taken_to_be_fast():
    assert fast_bf16(torch.device("meta")) is False
