"""The frozen layers' output on disk: what is read back is what is computed, and nothing else is ever used."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_network import BF16, FP32, build, stir, table
from tiny import make_backbone

import pennyweight.model.prefix as module
from pennyweight.cache import Cache
from pennyweight.data.batches import collate
from pennyweight.model.backbone import find_backbone
from pennyweight.model.inference import compute_logits
from pennyweight.model.prefix import KIND, open_prefix
from pennyweight.model.prepacking import PrepackedLinear


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("bert4"), "bert", num_hidden_layers=4)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_TOKENS", 100)


def opened(folder, cache, *, machine=FP32, layers=(2, 3), tokens=None):
    network = build(folder, machine, layers=layers)
    stir(network)
    made, pad_id = table(folder)
    tokens = made if tokens is None else tokens
    return network, tokens, pad_id, open_prefix(network, find_backbone(str(folder)), tokens, pad_id=pad_id, cache=cache)


@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("heads", [None, "small_chunks"])
def test_what_is_read_is_what_is_computed(machine, heads, folder, tmp_path, request):
    if heads:
        request.getfixturevalue(heads)
    network, tokens, pad_id, prefix = opened(folder, Cache(tmp_path, 10**9), machine=machine)
    assert (len(prefix.chunks) > 3) == bool(heads)
    network.eval()
    for indices in np.random.default_rng(0).permutation(len(tokens)).reshape(-1, 5):
        batch = collate(tokens, indices, pad_id=pad_id)
        kept = batch["attention_mask"].bool()
        with torch.no_grad():
            computed = network.prefix(**batch)
        read = prefix.gather(indices, length=batch["input_ids"].shape[1])
        assert read.dtype is machine.dtype
        tolerance = 1e-5 if machine is FP32 else 3e-2
        torch.testing.assert_close(read[kept], computed[kept], rtol=tolerance, atol=tolerance)
        assert not read[~kept].any()


def test_logits_are_the_same_with_and_without(folder, tmp_path):
    network, tokens, pad_id, prefix = opened(folder, Cache(tmp_path, 10**9))
    some = np.array([5, 2, 9, 9, 0])
    whole = compute_logits(network, tokens.take(some), batch_size=2, pad_id=pad_id)
    apart = compute_logits(network, tokens.take(some), batch_size=2, pad_id=pad_id, prefix=prefix.take(some))
    np.testing.assert_allclose(apart, whole, rtol=1e-5, atol=1e-5)
    other = compute_logits(network, tokens.take(some), batch_size=2, pad_id=pad_id, prefix=prefix.take(some[::-1]))
    assert not np.allclose(other[0], whole[0], atol=1e-3)


def test_a_second_run_computes_nothing(folder, tmp_path, small_chunks, monkeypatch):
    opened(folder, Cache(tmp_path, 10**9))
    monkeypatch.setattr(module, "_computed", lambda *_a, **_k: pytest.fail("computed again"))
    assert opened(folder, Cache(tmp_path, 10**9))[3] is not None


def test_a_longer_table_shares_the_chunks_of_a_shorter_one(folder, tmp_path, small_chunks, monkeypatch):
    tokens, _ = table(folder)
    short = tokens.take(np.arange(20))
    opened(folder, Cache(tmp_path, 10**9), tokens=short)
    before = Cache(tmp_path, 10**9).usage()[KIND].entries
    opened(folder, Cache(tmp_path, 10**9))
    firsts, all_firsts = (module._chunk_starts(one.offsets) for one in (short, tokens))
    assert np.array_equal(firsts, all_firsts[: len(firsts)])
    assert (
        Cache(tmp_path, 10**9).usage()[KIND].entries == before + len(all_firsts) - len(firsts) + 1
    )  # the last differs


@pytest.mark.parametrize("change", ["layer", "weights", "dtype", "tokens", "config", "attention", "device", "version"])
def test_what_the_output_depends_on_is_in_the_key(change, folder, tmp_path, monkeypatch):
    cache = Cache(tmp_path, 10**9)
    opened(folder, cache)
    first = {entry.path for entry in cache.entries()}
    if change == "weights":
        other = Path(shutil.copytree(folder, tmp_path / "other"))
        tensors = load_file(other / "model.safetensors")
        next(iter(tensors.values())).flatten()[0] += 1
        save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
        opened(other, cache)
    elif change == "config":
        opened(make_backbone(tmp_path / "other", "bert", num_hidden_layers=4, layer_norm_eps=1e-3), cache)
    elif change == "tokens":
        tokens, _ = table(folder)
        tokens.ids[3] += 1
        opened(folder, cache, tokens=tokens)
    elif change == "device":
        monkeypatch.setattr(module.Machine, "line", lambda machine: f"cuda, {machine.dtype}, {machine.attention}")
        opened(folder, cache)
    elif change == "version":
        monkeypatch.setattr(torch, "__version__", type(torch.__version__)("99.0.0"))
        opened(folder, cache)
    elif change == "attention":
        opened(folder, cache, machine=replace(FP32, attention="eager"))
    else:
        opened(folder, cache, **({"layers": (3,)} if change == "layer" else {"machine": BF16}))
    assert len({entry.path for entry in cache.entries()} - first) == len(first)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_computed_again(damage, folder, tmp_path, small_chunks):
    cache = Cache(tmp_path, 10**9)
    good = opened(folder, cache)[3].gather(np.arange(30), length=40)
    path = Path(cache.entries()[1].path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 64
    path.write_bytes({"flip": content, "cut": content[:-7], "empty": b""}[damage])
    assert torch.equal(opened(folder, cache)[3].gather(np.arange(30), length=40), good)


def test_it_is_computed_without_dropout(folder, tmp_path):
    _, tokens, pad_id, prefix = opened(folder, Cache(tmp_path, 10**9))
    again = build(folder, layers=(2, 3), keep_dropout=True).train()
    stir(again)
    other = open_prefix(again, find_backbone(str(folder)), tokens, pad_id=pad_id, cache=Cache(tmp_path / "b", 10**9))
    assert again.training
    some = np.arange(6)
    torch.testing.assert_close(other.gather(some, length=40), prefix.gather(some, length=40))


def test_no_room_means_no_prefix(folder, tmp_path, small_chunks):
    assert opened(folder, Cache(tmp_path, 2000))[3] is None
    assert opened(folder, Cache(tmp_path, 0))[3] is None
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    cache = Cache(blocked, 10**9)
    assert opened(folder, cache)[3] is None
    assert cache.trouble


def test_too_little_room_is_said_and_a_cache_that_is_off_is_not(folder, tmp_path):
    small, off = Cache(tmp_path, 2000), Cache(tmp_path, 0)
    assert opened(folder, small)[3] is opened(folder, off)[3] is None
    assert "cannot hold" in small.trouble
    assert off.trouble is None


def test_progress_is_told_of_each_batch_and_may_end_the_work(folder, tmp_path, small_chunks, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    network, cache, told = build(folder, layers=(2, 3)), Cache(tmp_path, 10**9), []
    tokens, pad_id = table(folder)

    def tell(done: int) -> None:
        told.append(done)
        if done > 20:
            raise InterruptedError

    network.train()
    with pytest.raises(InterruptedError):
        open_prefix(network, find_backbone(str(folder)), tokens, pad_id=pad_id, cache=cache, progress=tell)
    assert network.training
    assert told == sorted(told) and len(set(told)) > 10
    kept = cache.usage()[KIND].entries
    assert kept == np.searchsorted(module._chunk_starts(tokens.offsets), 20, side="right") - 1
    assert opened(folder, cache)[3] is not None


def test_matrices_that_are_not_used_again_keep_no_order(folder, tmp_path):
    network, tokens, pad_id, prefix = opened(folder, Cache(tmp_path, 10**9), machine=BF16)
    ordering = [one for one in network.encoder.modules() if isinstance(one, PrepackedLinear)]
    if not ordering:
        pytest.skip("this machine orders no matrices")
    assert all(one._forth is None and one._back is None for one in ordering)
    compute_logits(network, tokens, batch_size=8, pad_id=pad_id, prefix=prefix)
    assert 0 < sum(one._forth is not None for one in ordering) < len(ordering)


def test_few_files_stay_open(folder, tmp_path, small_chunks, monkeypatch):
    monkeypatch.setattr(module, "Chunks", functools.partial(module.Chunks, most_open=2))
    prefix = opened(folder, Cache(tmp_path, 10**9))[3]
    assert len(prefix.chunks._open) == 2 < len(prefix.chunks)
    good = prefix.gather(np.arange(30), length=40)
    Cache(tmp_path, 10**9).clear()
    assert prefix.gather(np.arange(30), length=40) is None  # evicted by another process
    assert torch.equal(prefix.gather(np.array([29]), length=40), good[29:])


def test_nothing_is_kept_where_the_lowest_layer_learns(folder, tmp_path):
    assert opened(folder, Cache(tmp_path, 10**9), layers=(0, 3))[3] is None
    assert not Cache(tmp_path, 10**9).entries()


def test_entries_evicted_by_another_go_on_working(folder, tmp_path, small_chunks):
    cache = Cache(tmp_path, 10**9)
    prefix = opened(folder, cache)[3]
    before = prefix.gather(np.arange(30), length=40)
    assert cache.clear() > 0
    assert torch.equal(prefix.gather(np.arange(30), length=40), before)


def test_a_disk_that_fails_gives_none_and_says_why(folder, tmp_path):
    cache, errors = Cache(tmp_path, 10**9), []
    network, tokens, pad_id, _ = opened(folder, cache)
    prefix = open_prefix(network, find_backbone(str(folder)), tokens, pad_id=pad_id, cache=cache, lost=errors.append)
    with Path(cache.entries()[0].path).open("r+b") as file:
        file.truncate(100)
    assert prefix.gather(np.arange(3), length=40) is None
    (error,) = errors
    assert "the file ends too early" in str(error)
