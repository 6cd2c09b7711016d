from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_backbone

from pennyweight.budget.backbones import ALIASES, Alias
from pennyweight.errors import InputError
from pennyweight.manifest import file_digest
from pennyweight.model import backbone as module
from pennyweight.model.attention import NAMES
from pennyweight.model.backbone import find_backbone, load_backbone, load_tokenizer
from pennyweight.model.device import Machine

FP32 = Machine(torch.device("cpu"), torch.float32, "sdpa")
BF16 = Machine(torch.device("cpu"), torch.bfloat16, "plain")


def load(folder, machine=FP32, *, classes=None, keep=False, head=None):
    return load_backbone(
        find_backbone(str(folder)), machine, stock_head_classes=classes, keep_dropout=keep, head_dropout=head
    )


def dropouts(model) -> set[float]:
    return {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}


@pytest.fixture
def copied(tiny_bert, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "copied"))


def refusal(folder, **options) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_what_identifies_a_backbone(tiny_bert):
    files = find_backbone(str(tiny_bert))
    assert files.digest == file_digest(tiny_bert / "model.safetensors")
    assert files.vocabulary_digest == file_digest(tiny_bert / "tokenizer.json")
    assert files.tokenizer_digest == find_backbone(str(tiny_bert)).tokenizer_digest != files.vocabulary_digest
    assert files.config["model_type"] == "bert"


def test_the_tokenizers_settings_identify_it_too(copied):
    """Written otherwise, or with what has no effect on tokens, they are the same."""
    before = find_backbone(str(copied))
    path = copied / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(settings.items())) | {"model_max_length": 7, "name_or_path": "x"}))
    assert find_backbone(str(copied)) == before
    digests = {before.tokenizer_digest}
    for name, content in (
        ("tokenizer_config.json", settings | {"do_lower_case": not settings["do_lower_case"]}),
        ("special_tokens_map.json", {"sep_token": "[MASK]"}),
        ("added_tokens.json", {"quay": 299}),
    ):
        (copied / name).write_text(json.dumps(content))
        after = find_backbone(str(copied))
        assert after.tokenizer_digest not in digests
        assert after.vocabulary_digest == before.vocabulary_digest
        digests.add(after.tokenizer_digest)


@pytest.mark.parametrize(("content", "reason"), [("{", "cannot be read"), ("[1]", "holds no settings")])
def test_settings_of_a_tokenizer_that_are_none(content, reason, copied):
    (copied / "tokenizer_config.json").write_text(content)
    message = refusal(copied)
    assert f"tokenizer_config.json {reason}" in message
    assert "restore it from a copy" in message


@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
def test_the_weights_are_those_of_the_file_frozen_in_the_machines_format(machine, tiny_bert):
    model = load(tiny_bert, machine)
    stored = load_file(tiny_bert / "model.safetensors")
    parameters = dict(model.named_parameters())
    assert parameters.keys() == {name for name in stored if not name.startswith("pooler")}
    for name, parameter in parameters.items():
        assert not parameter.requires_grad
        assert parameter.dtype == machine.dtype
        assert torch.equal(parameter, stored[name].to(machine.dtype))
    assert model.config._attn_implementation == NAMES[machine.attention]


def test_dropout_is_off_unless_asked_for(tiny_bert, tiny_roberta):
    for folder in (tiny_bert, tiny_roberta):
        assert dropouts(load(folder)) == {0.0}
        assert dropouts(load(folder, keep=True)) == {0.1}
        assert dropouts(load(folder, classes=3)) == {0.0}
        assert dropouts(load(folder, classes=3, head=0.3)) == {0.0, 0.3}
        assert dropouts(load(folder, classes=3, keep=True, head=0.3)) == {0.1, 0.3}


@pytest.mark.parametrize("keep", [True, False])
def test_dropout_in_attention_too(keep, tiny_roberta):
    """Off, two forward passes in training mode agree; kept on, they do not."""
    model = load(tiny_roberta, keep=keep).train()
    tokens = torch.arange(5, 25).reshape(2, 10)
    first, second = (model(input_ids=tokens).last_hidden_state for _ in range(2))
    assert torch.equal(first, second) is not keep


def test_the_stock_head_is_fresh_and_of_the_right_size(tiny_roberta):
    model = load(tiny_roberta, classes=5)
    assert model.classifier.out_proj.weight.shape == (5, 32)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_no_weights_or_only_pickled_ones(copied):
    weights = copied / "model.safetensors"
    weights.rename(copied / "pytorch_model.bin")
    message = refusal(copied)
    assert "no model.safetensors" in message
    assert "only safetensors are read" in message


@pytest.mark.parametrize("keep", [0, 7, 100, 20_000])
def test_truncated_weights(keep, copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert "cannot be loaded" in refusal(copied)


def test_missing_tensors_are_not_left_random(copied):
    weights = copied / "model.safetensors"
    tensors = load_file(weights)
    name = "encoder.layer.1.output.dense.weight"
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, weights, metadata={"format": "pt"})
    assert f"lack 1 tensors of the encoder, such as {name}" in refusal(copied)
    assert f"lack 1 tensors of the encoder, such as {name}" in refusal(copied, classes=3)


def test_without_a_pooler_only_the_stock_head_is_refused(copied):
    weights = copied / "model.safetensors"
    tensors = {key: tensor for key, tensor in load_file(weights).items() if not key.startswith("pooler")}
    save_file(tensors, weights, metadata={"format": "pt"})
    assert load(copied) is not None
    assert "no pooler, which its stock head needs: use head.kind = 'linear'" in refusal(copied, classes=3)


def test_weights_of_another_shape(copied):
    weights = copied / "model.safetensors"
    tensors = load_file(weights)
    name = "encoder.layer.1.output.dense.weight"
    save_file({**tensors, name: torch.zeros(32, 65)}, weights, metadata={"format": "pt"})
    refusal(copied)


def test_no_tokenizer(copied):
    (copied / "tokenizer.json").unlink()
    assert "tokenizer" in refusal(copied)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        find_backbone(str(tmp_path / "nowhere"))


def test_an_alias_of_other_weights_is_refused(tiny_bert, monkeypatch):
    monkeypatch.setitem(ALIASES, "minilm", Alias(hub_id="x/y", digest="f" * 64))
    monkeypatch.setattr(module, "_locate", lambda _name, _revision: tiny_bert)
    with pytest.raises(InputError) as caught:
        find_backbone("minilm")
    assert "wrong weights digest" in str(caught.value)
    assert file_digest(tiny_bert / "model.safetensors") in str(caught.value)
    monkeypatch.setitem(ALIASES, "minilm", Alias(hub_id="x/y", digest=file_digest(tiny_bert / "model.safetensors")))
    assert find_backbone("minilm").folder == tiny_bert


def test_the_packaged_minilm_is_the_published_one(minilm):
    assert find_backbone(minilm).digest == ALIASES["minilm"].digest


def test_weights_in_several_files(tiny_bert, tmp_path):
    from transformers import AutoModel

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "parts"))
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(tiny_bert).save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model*.safetensors"))) > 1
    whole, parts = load(tiny_bert).state_dict(), load(folder).state_dict()
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())
    digest = find_backbone(str(folder)).digest
    last = max(folder.glob("model*.safetensors"))
    tensors = load_file(last)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, last, metadata={"format": "pt"})
    assert find_backbone(str(folder)).digest != digest


def test_the_tokenizer_and_its_prefix_space(tiny_roberta):
    files = find_backbone(str(tiny_roberta))
    plain, spaced = (load_tokenizer(files, add_prefix_space=flag) for flag in (False, True))
    assert plain("apple pear")["input_ids"] != spaced("apple pear")["input_ids"]
    assert spaced("apple pear")["input_ids"] == plain(" apple pear")["input_ids"]


def test_remote_code_is_never_run(copied):
    config = json.loads((copied / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "evil.py").write_text("raise SystemExit('remote code was run')")
    assert type(load(copied)).__name__ == "BertModel"


def test_any_random_backbone_of_another_kind(tmp_path):
    folder = make_backbone(tmp_path / "distil", "distilbert")
    assert load(folder, classes=3).num_labels == 3
