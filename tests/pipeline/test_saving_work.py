"""Work that is saved changes nothing: runs with and without the prefix, in parts, checkpointed, and after eviction."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import train_quietly
from safetensors.numpy import load_file

from pennyweight.cache import default_cache
from pennyweight.model.prefix import KIND

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
    from pennyweight.pipeline.run import train_recipe

    train_recipe(make_recipe(**UPPER), tmp_path / "run")
    assert "computed again in every epoch" in " ".join(capsys.readouterr().err.split())


def test_the_machine_is_told_in_one_line(make_recipe, tmp_path, capsys):
    from pennyweight.pipeline.run import train_recipe

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
