"""Work that is saved changes nothing: runs with and without the prefix, in parts, checkpointed, and after eviction."""

from __future__ import annotations

import contextlib
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import train_quietly
from safetensors.numpy import load_file

import pennyweight.model.prefix as prefix_module
from pennyweight.cache import Cache, default_cache
from pennyweight.console import Speaker
from pennyweight.errors import Interrupted, RunError
from pennyweight.model.prefix import KIND
from pennyweight.pipeline import prefixing
from pennyweight.pipeline.run import train_recipe

UPPER = {"adapters": {"targets": ["query@1:"]}}
FP32 = {"backbone": {"precision": "fp32"}}


def weights(folder):
    return {**load_file(folder / "adapter_model.safetensors"), **load_file(folder / "head.safetensors")}


def merged(*tables):
    sections = {}
    for table in tables:
        for section, keys in table.items():
            sections[section] = {**sections.get(section, {}), **keys}
    return sections


def runs(make_recipe, tmp_path, *ways, common=()):
    made = []
    for index, changes in enumerate(ways):
        out = tmp_path / str(index)
        train_quietly(make_recipe(**merged(*common, changes)), out)
        made.append(weights(out))
    return made


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=2e-3, atol=2e-4, err_msg=name)


def test_a_run_with_the_prefix_equals_one_without(make_recipe, tmp_path):
    default_cache().clear()
    kept, again, without, other_seed = runs(
        make_recipe,
        tmp_path,
        {},
        {},
        {"training": {"prefix_cache": False}},
        {"training": {"seed": 9}},
        common=[UPPER, FP32],
    )
    assert default_cache().usage()[KIND].entries == 1  # of all four runs: the seed is not in it
    assert_same(kept, again)
    assert_same(kept, without)
    assert any(not np.allclose(kept[name], other_seed[name], atol=1e-2) for name in kept)


def test_with_the_backbones_dropout_nothing_is_kept(make_recipe, tmp_path):
    default_cache().clear()
    train_quietly(make_recipe(**UPPER, backbone={"dropout": True}), tmp_path / "run")
    assert KIND not in default_cache().usage()


def test_a_damaged_prefix_is_computed_again(make_recipe, tmp_path):
    (before,) = runs(make_recipe, tmp_path, {}, common=[UPPER, FP32])
    stored = next(entry for entry in default_cache().entries() if f"/{KIND}/" in str(entry.path))
    with open(stored.path, "r+b") as file:  # noqa: PTH123
        file.seek(stored.size // 2)
        file.write(b"\xff" * 64)
    (after,) = runs(make_recipe, tmp_path / "again", {}, common=[UPPER, FP32])
    assert_same(before, after)


def test_the_cache_is_named_where_it_fails(make_recipe, tmp_path, monkeypatch, capsys):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setenv("PENNYWEIGHT_CACHE", str(blocked))
    train_recipe(make_recipe(**UPPER), tmp_path / "run")
    assert "computed again in every epoch" in " ".join(capsys.readouterr().err.split())


def test_a_cache_that_is_too_small_is_said_once(make_recipe, tmp_path, monkeypatch):
    speaker = Interrupting(at={})
    monkeypatch.setenv("PENNYWEIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PENNYWEIGHT_CACHE_BYTES", "30KB")
    train_recipe(make_recipe(**UPPER), tmp_path / "run", speaker=speaker, cpu=True)
    (line,) = [line for line in speaker.lines if "computed again" in line]
    assert "cannot hold" in line and "PENNYWEIGHT_CACHE_BYTES" in line


def test_chunks_that_are_lost_on_the_way_are_said_once_and_computed(make_recipe, tmp_path, monkeypatch):
    (before,) = runs(make_recipe, tmp_path, {}, common=[UPPER, FP32])

    def failing(*_arguments):
        raise RunError("cannot read it: it is gone")

    monkeypatch.setattr(prefix_module.Chunks, "read_into", failing)
    speaker = Interrupting(at={})
    train_recipe(make_recipe(**merged(UPPER, FP32)), tmp_path / "run", speaker=speaker, cpu=True)
    assert [line for line in speaker.lines if "it is gone" in line] == [
        "cannot read it: it is gone; for these texts the frozen layers are computed again in every epoch"
    ]
    assert_same(before, weights(tmp_path / "run"))


class Interrupting(Speaker):
    """Listens, and stands for a person who presses Ctrl-C when a bar is at some number."""

    def __init__(self, at: dict[str, int]) -> None:
        super().__init__(enabled=False)
        self.at, self.lines = at, []

    def say(self, line):
        self.lines.append(line)

    def bar(self, what, total):
        made = super().bar(what, total)
        stop = next((number for word, number in self.at.items() if word in what), None)
        made.say = self.say
        made.update = lambda done, _note: None if done != stop else signal.raise_signal(signal.SIGINT)
        return made


def test_ctrl_c_while_the_frozen_layers_are_computed(make_recipe, tmp_path, monkeypatch):
    default_cache().clear()
    monkeypatch.setattr(prefix_module, "_CHUNK_TOKENS", 300)
    monkeypatch.setattr(prefix_module, "_BATCH", 1)
    recipe = make_recipe(**merged(UPPER, FP32))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        Interrupted, match=r"stopped while computing .* the same command with --resume goes on"
    ) as caught:
        train_recipe(recipe, tmp_path / "run", speaker=Interrupting(at={"computing": 40}), cpu=True)
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) == handler
    kept = {entry.path for entry in default_cache().entries() if entry.kind == KIND}
    assert len(kept) > 1
    train_quietly(recipe, tmp_path / "run", resume=True)
    assert kept < {entry.path for entry in default_cache().entries() if entry.kind == KIND}
    train_quietly(recipe, tmp_path / "whole")
    assert (tmp_path / "run/head.safetensors").read_bytes() == (tmp_path / "whole/head.safetensors").read_bytes()


@pytest.mark.parametrize("lost_first", [True, False])
def test_a_resumed_run_says_so_where_the_prefix_came_or_went(lost_first, make_recipe, tmp_path, monkeypatch):
    recipe, out = make_recipe(**merged(UPPER, FP32)), tmp_path / "run"
    whole = train_quietly(recipe, tmp_path / "whole").folder
    for sitting, lost in enumerate((lost_first, not lost_first)):
        monkeypatch.setenv("PENNYWEIGHT_CACHE_BYTES", "0" if lost else "1GB")
        speaker = Interrupting(at={"training": 4 + 3 * sitting})
        with pytest.raises(Interrupted):
            train_recipe(recipe, out, resume=True, speaker=speaker, cpu=True)
        assert json.loads((out / "training/run.json").read_text())["prefix"] is not lost
        said = [line for line in speaker.lines if line.startswith("--resume:")]
        assert len(said) == sitting
    ways = "read from the cache", "computed in every epoch"
    assert f"before {ways[lost_first]}, are from here on {ways[not lost_first]}" in said[0]
    speaker = Interrupting(at={})
    train_recipe(recipe, out, resume=True, speaker=speaker, cpu=True)
    assert not [line for line in speaker.lines if line.startswith("--resume:")]
    assert_same(weights(whole), weights(out))


def test_an_evicted_prefix_changes_nothing_for_a_resumed_run(make_recipe, tmp_path):
    recipe, out = make_recipe(**UPPER), tmp_path / "run"
    whole = train_quietly(recipe, tmp_path / "whole").folder
    with pytest.raises(Interrupted):
        train_recipe(recipe, out, speaker=Interrupting(at={"training": 4}), cpu=True)
    default_cache().clear()
    train_quietly(recipe, out, resume=True)
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (whole / name).read_bytes() == (out / name).read_bytes()


class Two:
    """What an accelerator of two processes does in the first of them; the other answers as it is told."""

    num_processes, device = 2, torch.device("cpu")

    def __init__(self, *others: bool) -> None:
        self.others, self.first = list(others), False

    @contextlib.contextmanager
    def main_process_first(self):
        self.first = True
        yield
        self.first = False

    def reduce(self, mine, *, reduction):
        assert reduction == "sum"
        return mine + float(self.others.pop(0))


@pytest.mark.parametrize(("stopped", "has"), [(False, True), (False, False), (True, True)])
def test_of_several_processes_the_first_computes_and_all_agree(stopped, has, make_recipe, tmp_path, monkeypatch):
    accelerator, made, seen = Two(stopped, has), object(), []
    monkeypatch.setattr(prefixing, "open_prefix", lambda *_a, **_k: seen.append(accelerator.first) or made)
    bench = SimpleNamespace(
        recipe=make_recipe(),
        accelerator=accelerator,
        network=SimpleNamespace(frozen_layers=1),
        files=None,
        table=SimpleNamespace(unrolled=lambda: [1, 2]),
        tokenizer=SimpleNamespace(pad_token_id=0),
        prefix=None,
    )
    speaker = Interrupting(at={})
    stopping = pytest.raises(Interrupted, match="stopped while computing") if stopped else contextlib.nullcontext()
    with stopping:
        prefixing.keep_prefix(bench, Cache(tmp_path, 10**9), speaker)
    assert seen == [True]
    assert bench.prefix is (made if has and not stopped else None)
    assert len(speaker.lines) == (not stopped and not has)


def test_the_machine_is_told_in_one_line(make_recipe, tmp_path, capsys):
    train_recipe(make_recipe(**UPPER), tmp_path / "run")
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("training: "))
    assert "cpu" in line and "attention" in line and "1 frozen layer" in line


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"forward_tokens": 60}},
        {"training": {"gradient_checkpointing": True}},
        {"backbone": {"attention": "packed"}},
    ],
    ids=str,
)
def test_memory_and_layout_change_nothing(change, make_recipe, tmp_path):
    assert_same(*runs(make_recipe, tmp_path, {}, change, common=[FP32, {"adapters": {"targets": "all-linear"}}]))


def test_a_forward_pass_has_the_tokens_it_may_have(make_recipe, tmp_path, monkeypatch):
    import pennyweight.model.network as module

    seen = []
    forward = module.Network.forward

    def counted(self, attention_mask, **inputs):
        seen.append(attention_mask.shape)
        return forward(self, attention_mask, **inputs)

    monkeypatch.setattr(module.Network, "forward", counted)
    train_quietly(make_recipe(training={"forward_tokens": 60}), tmp_path / "run")
    assert max(rows * width for rows, width in seen if rows > 1 and width > 0) <= 16_384
    trained = [rows * width for rows, width in seen if rows > 1]
    assert sum(size <= 60 for size in trained) > len(trained) / 2
