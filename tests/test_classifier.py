from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import train_quietly
from safetensors.torch import load_file, save_file
from tiny import LABELS, make_backbone, sentences

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.pipeline import run as run_module

TEXTS = [text for text, _ in sentences(40, seed=21)]
TRUTH = [label for _, label in sentences(40, seed=21)]


@pytest.fixture(scope="module")
def classifier(trained) -> Classifier:
    return Classifier.load(trained, device="cpu")


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "low-rank", "rank": 2}, {"kind": "stock"}])
def test_reloading_gives_bit_identical_logits(precision, head, make_recipe, tmp_path, monkeypatch):
    in_memory: list[np.ndarray] = []
    save = run_module.save_classifier

    def saving(folder, network, manifest):
        written = save(folder, network, manifest)
        tokenizer = Classifier.load(folder, device="cpu")._tokenizer
        in_memory.append(Classifier(written, network, tokenizer).logits(TEXTS))
        return written

    monkeypatch.setattr(run_module, "save_classifier", saving)
    recipe = make_recipe(
        backbone={"precision": precision, "dropout": True},
        adapters={"dropout": 0.1},
        head=head,
        text={"cleaning": ["html", "lowercase"]},
        training={"epochs": 1},
    )
    folder = train_quietly(recipe, tmp_path / "out").folder
    reloaded = Classifier.load(folder, device="cpu").logits(TEXTS)
    assert np.array_equal(reloaded, in_memory[0])
    assert reloaded.std(axis=0).min() > 0
    assert (folder / "head.safetensors").exists() is (head["kind"] != "stock")


@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_a_stock_head_opens_in_plain_transformers_and_peft(kind, make_recipe, tiny_roberta, tiny_bert, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    backbone = {"roberta": tiny_roberta, "bert": tiny_bert}[kind]
    recipe = make_recipe(
        backbone={"name": str(backbone)},
        adapters={"alpha": 12, "rank_pattern": {"query@0": 2}, "alpha_pattern": {"value": 3}},
        head={"kind": "stock"},
    )
    folder = train_quietly(recipe, tmp_path / "out").folder
    ours = Classifier.load(folder, device="cpu").logits(TEXTS)

    base = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, folder).eval()
    tokens = AutoTokenizer.from_pretrained(backbone)(
        TEXTS, truncation=True, max_length=48, padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = plain(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits.numpy()
        plain.disable_adapter_layers()
        without = plain(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(ours - without).max() > 1e-2


def test_a_linear_heads_adapters_open_in_plain_peft(trained, tiny_roberta, classifier):
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    base = AutoModel.from_pretrained(tiny_roberta, dtype=torch.float32, add_pooling_layer=False)
    plain = PeftModel.from_pretrained(base, trained).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_roberta)(
        TEXTS, truncation=True, max_length=48, padding=True, return_tensors="pt"
    )
    mask = tokens["attention_mask"].unsqueeze(-1)
    head = load_file(trained / "head.safetensors")
    with torch.inference_mode():
        hidden = plain(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        theirs = pooled @ head["out.weight"].T + head["out.bias"]
    np.testing.assert_allclose(classifier.logits(TEXTS), theirs.numpy(), atol=1e-5)


def test_the_order_of_the_texts_is_kept(classifier):
    order = list(range(len(TEXTS)))
    random.Random(1).shuffle(order)
    assert len({len(text) for text in TEXTS}) > 10
    whole = classifier.logits(TEXTS)
    np.testing.assert_allclose(classifier.logits([TEXTS[i] for i in order]), whole[order], atol=1e-5)
    for index in (0, 7, 39):
        np.testing.assert_allclose(classifier.logits([TEXTS[index]])[0], whole[index], atol=1e-5)


def test_probabilities_are_the_tempered_softmax(classifier):
    logits = classifier.logits(TEXTS).astype(np.float64) / classifier.manifest.temperature
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = classifier.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-9)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert classifier.manifest.temperature != 1
    assert classifier.predict(TEXTS) == [LABELS[index] for index in probabilities.argmax(axis=1)]


def test_evaluate_by_name_and_by_index(classifier):
    metrics = classifier.evaluate(TEXTS, TRUTH, resamples=100)
    right = np.mean([one == other for one, other in zip(classifier.predict(TEXTS), TRUTH, strict=True)])
    assert metrics.accuracy.value == pytest.approx(right)
    assert metrics.accuracy.low < right < metrics.accuracy.high
    assert metrics == classifier.evaluate(TEXTS, [LABELS.index(label) for label in TRUTH], resamples=100)
    assert metrics == classifier.evaluate(iter(TEXTS), iter(TRUTH), resamples=100)


@pytest.mark.parametrize("label", ["pond", 3, -1])
def test_evaluate_refuses_a_label_it_does_not_know(classifier, label):
    with pytest.raises(InputError, match="is not one of this classifier's: orchard, harbour, workshop"):
        classifier.evaluate(TEXTS[:2], ["orchard", label])


def test_no_texts_at_all(classifier):
    assert classifier.logits([]).shape == (0, 3)
    assert classifier.predict([]) == []
    with pytest.raises(InputError):
        classifier.evaluate([], [])


def test_one_text_instead_of_a_list_is_refused(classifier):
    with pytest.raises(InputError, match=r"predict\(\[text\]\)"):
        classifier.predict("a text")


def test_odd_texts_still_get_an_answer(classifier):
    odd = ["", " ", "\0", "🦆" * 50, "x" * 1_000_000, "<b>", "a\nb", "é́"]
    assert np.isfinite(classifier.logits(odd)).all()


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
    from pennyweight.manifest import file_digest

    path = copied / "adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file({**tensors, name: torch.zeros(4, 48)}, path)
    edit(copied, files={"adapter_model.safetensors": file_digest(path)})
    message = refusal(copied)
    assert name in message
    assert "another width" in message
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    edit(copied, files={"adapter_model.safetensors": file_digest(path)})
    assert f"first difference: {name}" in refusal(copied)


def test_a_truncated_file_is_refused_even_with_a_digest_that_fits(copied):
    from pennyweight.manifest import file_digest

    for name in ("head.safetensors", "adapter_model.safetensors"):
        path = copied / name
        path.write_bytes(path.read_bytes()[:-8])
        edit(copied, files={name: file_digest(path)})
        assert "damaged" in refusal(copied)


def test_a_head_of_another_shape_is_refused(copied):
    from pennyweight.manifest import file_digest

    path = copied / "head.safetensors"
    save_file({"out.weight": torch.zeros(3, 48), "out.bias": torch.zeros(3)}, path)
    edit(copied, files={path.name: file_digest(path)})
    message = refusal(copied)
    assert "head.safetensors: out.weight has shape [3, 48], this backbone needs [3, 32]" in message


def test_a_newer_format_asks_for_an_upgrade(copied):
    edit(copied, format=2)
    message = refusal(copied)
    assert "classifier format 2, this Pennyweight reads up to 1" in message
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


def test_a_backbone_that_has_moved_is_named_anew(trained, tiny_roberta, tmp_path, classifier):
    moved = shutil.copytree(tiny_roberta, tmp_path / "moved")
    again = Classifier.load(trained, backbone=str(moved), device="cpu")
    assert np.array_equal(again.logits(TEXTS), classifier.logits(TEXTS))


def test_a_backbone_that_is_gone_is_named(copied):
    edit(copied, backbone__name="/nowhere/backbone")
    assert "/nowhere/backbone" in refusal(copied)
