from __future__ import annotations

import pytest
import torch

from pennyweight.errors import InputError
from pennyweight.model import device as module
from pennyweight.model.device import best_device, choose_machine, fast_bf16, named_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("fast", "precision", "attention", "line"),
    [
        (True, "auto", "auto", "cpu, bf16, plain attention"),
        (False, "auto", "auto", "cpu, fp32, sdpa attention"),
        (True, "fp32", "auto", "cpu, fp32, sdpa attention"),
        (False, "bf16", "auto", "cpu, bf16, plain attention"),
        (True, "auto", "sdpa", "cpu, bf16, sdpa attention"),
        (False, "auto", "eager", "cpu, fp32, eager attention"),
    ],
)
def test_choices(fast, precision, attention, line, monkeypatch):
    monkeypatch.setattr(module, "fast_bf16", lambda _device: fast)
    assert choose_machine(precision=precision, attention=attention, device=CPU, packable=True).line() == line


@pytest.mark.parametrize(
    ("packable", "kernel", "kind"), [(True, True, "packed"), (False, True, "sdpa"), (True, False, "sdpa")]
)
def test_cuda_packs_texts_where_they_may_be_packed(packable, kernel, kind, monkeypatch):
    monkeypatch.setattr(module, "fast_bf16", lambda _device: True)
    monkeypatch.setattr(module, "has_packed_kernel", lambda: kernel)
    cuda = torch.device("cuda")
    assert choose_machine(precision="auto", attention="auto", device=cuda, packable=packable).attention == kind
    assert choose_machine(precision="fp32", attention="auto", device=cuda, packable=packable).attention == "sdpa"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("fast", [True, False])
def test_an_architecture_with_a_way_of_its_own_keeps_it(device, fast, monkeypatch):
    monkeypatch.setattr(module, "fast_bf16", lambda _device: fast)
    choice = {"precision": "auto", "device": torch.device(device), "packable": False, "fusable": False}
    assert choose_machine(attention="auto", **choice).attention == "eager"
    assert choose_machine(attention="eager", **choice).attention == "eager"
    for asked in ("sdpa", "plain"):
        with pytest.raises(InputError, match=f"attention = {asked}: this architecture .* say auto"):
            choose_machine(attention=asked, **choice)


def test_bf16_asked_for_on_an_old_gpu_is_not_packed(monkeypatch):
    monkeypatch.setattr(module, "fast_bf16", lambda _device: False)
    monkeypatch.setattr(module, "has_packed_kernel", lambda: True)
    old = choose_machine(precision="bf16", attention="auto", device=torch.device("cuda"), packable=True)
    assert (old.dtype, old.attention) == (torch.bfloat16, "sdpa")


def test_packing_what_cannot_be_packed_is_refused():
    with pytest.raises(InputError, match="packed"):
        choose_machine(precision="auto", attention="packed", device=CPU, packable=False)
    assert choose_machine(precision="auto", attention="packed", device=CPU, packable=True).attention == "packed"


def test_packing_without_the_kernel_is_refused_where_the_kernel_would_be_used(monkeypatch):
    monkeypatch.setattr(module, "has_packed_kernel", lambda: False)
    cuda = torch.device("cuda")
    with pytest.raises(InputError, match=r"attention = packed: PyTorch .* has no attention kernel .* say auto"):
        choose_machine(precision="bf16", attention="packed", device=cuda, packable=True)
    for device, precision in ((cuda, "fp32"), (CPU, "bf16")):
        machine = choose_machine(precision=precision, attention="packed", device=device, packable=True)
        assert machine.attention == "packed"


@pytest.mark.parametrize(
    ("abilities", "fast"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)],
)
def test_what_the_cpu_says_decides(abilities, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert fast_bf16(CPU) is fast


def test_an_unknown_device_is_not_taken_to_be_fast():
    assert fast_bf16(torch.device("meta")) is False


@pytest.mark.parametrize("name", ["cpu", "cpu:0", str(best_device())])
def test_devices_that_are_there(name):
    assert named_device(name) == torch.device(name)
    torch.zeros(1, device=named_device(name))


@pytest.mark.parametrize("name", ["nonsense", "", "cuda:", "cuda:-1", "meta", "mps:9", "cuda:99", "vulkan", None])
def test_devices_that_are_not(name):
    with pytest.raises(InputError, match="give cpu") as caught:
        named_device(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_accelerator_that_this_machine_lacks():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="device 'cuda': PyTorch does not see it on this machine"):
        named_device("cuda")
