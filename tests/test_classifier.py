from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
import torch
from abilities import needs_int8
from conftest import train_quietly
from safetensors.torch import load_file
from tiny import LABELS, make_backbone, sentences

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.model.attention import NAMES
from pennyweight.model.folding import fold
from pennyweight.pipeline import run as run_module

TEXTS = [text for text, _ in sentences(40, seed=21)]
TRUTH = [label for _, label in sentences(40, seed=21)]


@pytest.fixture(scope="module")
def classifier(trained) -> Classifier:
    return Classifier.load(trained, device="cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "low-rank", "rank": 2}, {"kind": "stock"}])
def test_reloading_gives_bit_identical_logits(precision, head, make_recipe, tmp_path, monkeypatch):
    in_memory: list[np.ndarray] = []
    save = run_module.save_classifier

    def saving(folder, network, manifest):
        written = save(folder, network, manifest)
        tokenizer = Classifier.load(folder, device="cpu")._tokenizer
        in_memory.append(Classifier(written, fold(network), tokenizer).logits(TEXTS))
        return written

    monkeypatch.setattr(run_module, "save_classifier", saving)
    recipe = make_recipe(
        backbone={"precision": precision, "attention": "sdpa", "dropout": True},
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


def test_loading_folds_the_adapters_in(classifier):
    assert not hasattr(classifier._network.encoder, "peft_config")
    assert type(classifier._network.encoder).__name__ == "RobertaModel"
    assert not any("lora" in name for name in classifier._network.state_dict())


def test_another_number_format_than_that_of_training(trained, classifier):
    assert classifier.precision == "fp32"
    assert np.array_equal(
        Classifier.load(trained, device="cpu", precision="fp32").logits(TEXTS), classifier.logits(TEXTS)
    )
    half = Classifier.load(trained, device="cpu", precision="bf16")
    assert half.precision == "bf16"
    away = np.abs(half.logits(TEXTS) - classifier.logits(TEXTS)).max()
    assert 0 < away < 0.1 * np.abs(classifier.logits(TEXTS)).max()
    assert Classifier.load(trained, device="cpu", precision="auto").precision in ("fp32", "bf16")


@needs_int8
def test_int8_is_near_enough_to_say_the_same(trained, classifier):
    int8 = Classifier.load(trained, precision="int8")
    assert int8.precision == "int8"
    assert not np.array_equal(int8.logits(TEXTS), classifier.logits(TEXTS))
    same = [one == other for one, other in zip(int8.predict(TEXTS), classifier.predict(TEXTS), strict=True)]
    assert np.mean(same) >= 0.9
    np.testing.assert_allclose(int8.predict_proba(TEXTS).sum(axis=1), 1)
    again = Classifier.load(trained, device="cpu", precision="int8")
    assert np.array_equal(again.logits(TEXTS), int8.logits(TEXTS))


@pytest.mark.parametrize("amx", [True, False])
def test_predicting_has_its_own_attention_where_nothing_was_asked_for(amx, trained, make_recipe, tmp_path, monkeypatch):
    """With AMX plain products are there for the sake of their backward pass alone."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": amx})
    opened = Classifier.load(trained, device="cpu", precision="bf16")
    assert opened._network.machine.attention == ("sdpa" if amx else "plain")
    assert opened._network.encoder.config._attn_implementation == NAMES[opened._network.machine.attention]
    recipe = make_recipe(backbone={"precision": "bf16", "attention": "plain"}, training={"epochs": 1})
    asked = Classifier.load(train_quietly(recipe, tmp_path / "out").folder, device="cpu")
    assert asked._network.machine.attention == "plain"


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
    with pytest.raises(InputError, match="is none of the known ones: orchard, harbour, workshop"):
        classifier.evaluate(TEXTS[:2], ["orchard", label])


def test_no_texts_at_all(classifier):
    assert classifier.logits([]).shape == (0, 3)
    assert classifier.predict([]) == []
    with pytest.raises(InputError):
        classifier.evaluate([], [])
    with pytest.raises(InputError, match="the labels end after 1: give one label for every text"):
        classifier.evaluate(iter(TEXTS[:2]), iter(["orchard"]))
    with pytest.raises(InputError, match="the texts end after 0"):
        classifier.evaluate(iter(()), iter(["orchard"]))
    with pytest.raises(InputError, match="give a list of texts and a list of labels"):
        classifier.evaluate("seven b", "orchard")


def test_a_precision_that_there_is_not_is_refused(trained):
    with pytest.raises(InputError, match=r"precision = 'fp16': give one of auto, fp32, bf16, int8, nf4"):
        Classifier.load(trained, precision="fp16")


def test_one_text_instead_of_a_list_is_refused(classifier):
    with pytest.raises(InputError, match=r"predict\(\[text\]\)"):
        classifier.predict("a text")


@pytest.mark.parametrize("odd", [None, 5, float("nan"), b"bytes", ["a list"]])
def test_what_is_no_text_is_named_by_its_place(odd, classifier):
    for method in (classifier.predict, classifier.predict_proba, classifier.logits):
        with pytest.raises(InputError, match=r"texts\[1\] is .*, not a text"):
            method(["a ship", odd])


def test_half_of_a_surrogate_pair_is_no_text(classifier):
    with pytest.raises(InputError, match=r"texts\[2\] is not valid Unicode"):
        classifier.predict(["a ship", "🦆", "\ud83d"])


@pytest.mark.parametrize("texts", [None, 3])
def test_what_cannot_be_gone_through_is_refused(texts, classifier):
    with pytest.raises(InputError, match="give a list of texts"):
        classifier.predict(texts)


def test_any_iterable_of_texts_will_do(classifier):
    expected = classifier.predict(TEXTS)
    assert classifier.predict(tuple(TEXTS)) == classifier.predict(np.array(TEXTS)) == expected
    assert classifier.predict(text for text in TEXTS) == expected


@pytest.mark.parametrize("device", ["nonsense", "", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(device, tmp_path):
    with pytest.raises(InputError, match=f"device '{device}': .*give cpu"):
        Classifier.load(tmp_path / "none", device=device)


def test_odd_texts_still_get_an_answer(classifier):
    odd = ["", " ", "\0", "🦆" * 50, "x" * 1_000_000, "<b>", "a\nb", "é́"]
    assert np.isfinite(classifier.logits(odd)).all()


def test_a_backbone_that_has_moved_is_named_anew(trained, tiny_roberta, tmp_path, classifier):
    moved = shutil.copytree(tiny_roberta, tmp_path / "moved")
    again = Classifier.load(trained, backbone=str(moved), device="cpu")
    assert np.array_equal(again.logits(TEXTS), classifier.logits(TEXTS))


def test_evaluate_wants_one_label_for_every_text(classifier):
    with pytest.raises(InputError, match="2 texts but 1 labels"):
        classifier.evaluate(["one", "two"], ["orchard"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_architecture_with_attention_of_its_own_is_trained_and_opened(precision, make_recipe, small_csv, tmp_path):
    """DeBERTa: Transformers has no fused attention for it, and ours does not reach it."""
    folder = make_backbone(tmp_path / "deberta", "deberta-v2")
    recipe = make_recipe(
        backbone={"name": str(folder), "precision": precision},
        adapters={"targets": "all-linear", "rank": 2},
        training={"epochs": 10, "learning_rate": 1e-2},
    )
    outcome = train_quietly(recipe, tmp_path / "out")
    classifier = Classifier.load(outcome.folder, device="cpu")
    assert classifier.machine.attention == "eager"
    assert classifier.evaluate(TEXTS, TRUTH, resamples=50).accuracy.value > 0.6
    manifest = json.loads((outcome.folder / "classifier.json").read_text())
    manifest["backbone"]["attention"] = "plain"  # as it could be recorded once
    (outcome.folder / "classifier.json").write_text(json.dumps(manifest))
    assert np.array_equal(Classifier.load(outcome.folder, device="cpu").logits(TEXTS), classifier.logits(TEXTS))
