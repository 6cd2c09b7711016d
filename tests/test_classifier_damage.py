"""Folders that are damaged, altered or none: each is refused in one line that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_backbone

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.manifest import FORMAT, file_digest


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copied"))


def refusal(folder: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        Classifier.load(folder, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(folder: Path, **changes) -> None:
    path = folder / "classifier.json"
    content = json.loads(path.read_text())
    for key, value in changes.items():
        section, _, inner = key.partition("__")
        if inner:
            content[section][inner] = value
        elif value is None:
            del content[section]
        else:
            content[section] = value
    path.write_text(json.dumps(content))


def redigest(folder: Path, name: str) -> None:
    """Record the digest that a changed file now has."""
    files = json.loads((folder / "classifier.json").read_text())["files"]
    edit(folder, files={**files, name: file_digest(folder / name)})


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "head.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("harm", ["truncated", "altered", "missing"])
def test_a_damaged_file_is_named(name, harm, copied):
    path = copied / name
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "truncated" else content[:-1] + b"?")
    message = refusal(copied)
    assert name in message
    assert "restore it from a copy" in message


def test_tensors_of_another_shape_are_refused_even_with_a_digest_that_fits(copied):
    path = copied / "adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file({**tensors, name: torch.zeros(4, 48)}, path)
    redigest(copied, "adapter_model.safetensors")
    message = refusal(copied)
    assert name in message
    assert "another width" in message
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    redigest(copied, "adapter_model.safetensors")
    assert f"first difference: {name}" in refusal(copied)


def test_a_truncated_file_is_refused_even_with_a_digest_that_fits(copied):
    for name in ("head.safetensors", "adapter_model.safetensors"):
        path = copied / name
        path.write_bytes(path.read_bytes()[:-8])
        redigest(copied, name)
        assert "damaged" in refusal(copied)


def test_a_head_of_another_shape_is_refused(copied):
    path = copied / "head.safetensors"
    save_file({"out.weight": torch.zeros(3, 48), "out.bias": torch.zeros(3)}, path)
    redigest(copied, path.name)
    message = refusal(copied)
    assert "head.safetensors: out.weight has shape [3, 48], this backbone needs [3, 32]" in message


def test_a_newer_format_asks_for_an_upgrade(copied):
    edit(copied, format=FORMAT + 1)
    message = refusal(copied)
    assert f"classifier format {FORMAT + 1}, this Pennyweight reads up to {FORMAT}" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "changes",
    [{"labels": ["one"]}, {"temperature": 0}, {"temperature": "warm"}, {"head__kind": "deep"}, {"backbone": None}],
)
def test_an_altered_manifest_is_refused(changes, copied):
    edit(copied, **changes)
    message = refusal(copied)
    assert next(iter(changes)).replace("__", ".") in message
    assert "altered" in message


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"'])
def test_a_manifest_that_is_no_manifest_is_refused(content, copied):
    (copied / "classifier.json").write_text(content)
    assert "classifier.json" in refusal(copied)


def test_the_adapters_of_another_classifier_are_refused_and_no_digest_can_be_left_out(copied):
    path = copied / "adapter_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    assert "adapter_model.safetensors: truncated or altered" in refusal(copied)
    edit(copied, files={})
    assert "the digest of adapter_model.safetensors is not among them" in refusal(copied)


def test_without_its_configuration_nobody_is_asked_for_adapters(copied, tiny_roberta):
    from pennyweight.model.adapters import open_adapters

    (copied / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"adapter_config\.json: missing"):
        open_adapters(None, copied)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"peft_type": "NONE"}'])
def test_a_configuration_that_is_none_is_refused_even_with_a_digest_that_fits(content, copied):
    (copied / "adapter_config.json").write_text(content)
    redigest(copied, "adapter_config.json")
    assert "its adapters cannot be opened" in refusal(copied)


def test_no_folder_no_classifier_and_an_unfinished_one(tmp_path):
    assert "no such classifier folder" in refusal(tmp_path / "none")
    assert "not a classifier folder" in refusal(tmp_path)
    (tmp_path / "training").mkdir()
    assert "not finished" in refusal(tmp_path)


def test_another_backbone_of_the_same_shape_is_refused(copied, tmp_path):
    other = make_backbone(tmp_path / "other", "roberta", seed=2)
    message = refusal(copied, backbone=str(other))
    assert "wrong weights digest" in message
    assert "give the backbone it was trained on" in message


def test_a_backbone_of_another_width_is_refused(copied, tmp_path):
    wide = make_backbone(tmp_path / "wide", "roberta", hidden_size=48)
    message = refusal(copied, backbone=str(wide))
    assert "of width 32" in message
    assert "has width 48" in message


def test_another_tokenizer_is_refused(copied, tiny_roberta, tmp_path):
    other = shutil.copytree(tiny_roberta, tmp_path / "other")
    content = json.loads((other / "tokenizer.json").read_text())
    content["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(content))
    assert "tokenizer" in refusal(copied, backbone=str(other))


def test_a_backbone_that_is_gone_is_named(copied):
    edit(copied, backbone__name="/nowhere/backbone")
    assert "/nowhere/backbone" in refusal(copied)


def test_altered_settings_of_the_tokenizer_are_refused(copied, tiny_roberta, tmp_path):
    other = Path(shutil.copytree(tiny_roberta, tmp_path / "other"))
    path = other / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"model_max_length": 99}))
    Classifier.load(copied, backbone=str(other), device="cpu")
    path.write_text(json.dumps(settings | {"split_special_tokens": True}))
    assert "tokenizer" in refusal(copied, backbone=str(other))


def test_a_folder_that_knows_the_vocabulary_alone_opens(copied, tiny_roberta):
    edit(copied, backbone__tokenizer_sha256=file_digest(tiny_roberta / "tokenizer.json"))
    Classifier.load(copied, device="cpu")
