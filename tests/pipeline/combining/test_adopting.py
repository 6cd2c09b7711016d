from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LABELS, make_backbone, sentences

from pennyweight.budget.backbones import read_config
from pennyweight.classifier import Classifier
from pennyweight.manifest import read_manifest
from pennyweight.pipeline.combining.adopting import adopt, describe_adapter

TEXTS = [text for text, _ in sentences(8, seed=4)]
QUERY = "roberta.encoder.layer.{}.attention.self.query"


def publish(folder: Path, backbone: Path, **settings) -> Path:
    """An adapter trained by PEFT alone, as far as its tensors show: nothing in it is at its start."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=len(LABELS))
    given = {"r": 3, "lora_alpha": 7, "target_modules": ["query", "value"], "modules_to_save": ["classifier", "score"]}
    placed = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", **{**given, **settings}))
    with torch.no_grad():
        for parameter in placed.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed.save_pretrained(folder)
    return folder


def by_peft_alone(adapter: Path, backbone: Path, texts: list[str], *, classes: int) -> np.ndarray:
    """Logits as plain Transformers and PEFT compute them."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes)
        model = PeftModel.from_pretrained(base, str(adapter)).eval()
    tokens = AutoTokenizer.from_pretrained(backbone)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits.numpy()


def altered(adapter: Path, folder: Path, **settings) -> Path:
    """A copy with settings changed."""
    shutil.copytree(adapter, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_roberta) -> Path:
    return publish(tmp_path_factory.mktemp("published") / "adapter", tiny_roberta)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"layer.1.attention.self.query": 2}, "alpha_pattern": {"value": 5}},
        {"target_modules": [QUERY.format(1)], "lora_alpha": 32, "r": 5},
    ],
    ids=["plain", "by the root of the rank", "patterns", "one matrix"],
)
def test_an_adopted_adapter_computes_what_peft_alone_computes(settings, tiny_roberta, tmp_path):
    source = publish(tmp_path / "adapter", tiny_roberta, **settings)
    adopt(source, tmp_path / "out", labels=LABELS)
    classifier = Classifier.load(tmp_path / "out", precision="fp32", device="cpu")
    expected = by_peft_alone(source, tiny_roberta, TEXTS, classes=len(LABELS))
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(classifier.logits(TEXTS), expected, atol=2e-5)
    again = by_peft_alone(tmp_path / "out", tiny_roberta, TEXTS, classes=len(LABELS))
    np.testing.assert_allclose(again, expected, atol=2e-5)


def test_what_is_in_it_is_counted(adapter, tiny_roberta):
    described = describe_adapter(adapter)
    assert described.classes == len(LABELS)
    assert described.backbone == str(tiny_roberta)
    assert [matrix.name for matrix in described.plan.matrices] == [
        f"encoder.layer.{layer}.attention.self.{name}" for layer in (0, 1) for name in ("query", "value")
    ]
    assert {(matrix.rank, matrix.alpha) for matrix in described.plan.matrices} == {(3, 7.0)}
    saved = load_file(adapter / "adapter_model.safetensors")
    assert described.plan.trainable == sum(tensor.numel() for tensor in saved.values())


def test_the_folder_says_where_it_comes_from(adapter, tmp_path):
    adopt(adapter, tmp_path / "out", labels=LABELS, columns=("title", "body"), label_column="queue", max_length=9999)
    manifest = read_manifest(tmp_path / "out")
    assert manifest.labels == LABELS
    assert manifest.text.columns == ("title", "body")
    assert manifest.text.label_column == "queue"
    assert manifest.text.max_length == 138
    assert manifest.environment["adopted"]["name"] == "adapter"
    assert "Adopted from the PEFT adapter `adapter`" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_adopts_and_the_classifier_is_used(pennyweight, adapter, small_csv, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = pennyweight("adopt", adapter, "--labels", ",".join(LABELS), "--out", out)
    assert code == 0, stderr
    assert f"classifier: {out}" in stdout.replace("\n", "")
    code, stdout, stderr = pennyweight("evaluate", out, "--data", small_csv, "--json", "--out", tmp_path / "report")
    assert code == 0, stderr
    assert json.loads(stdout)["examples"] == 90


def test_a_description_needs_no_weights(pennyweight, adapter, tiny_roberta, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_roberta / "config.json", bare)
    code, stdout, stderr = pennyweight("adopt", adapter, "--dry-run", "--backbone", bare, "--json")
    assert code == 0, stderr
    told = json.loads(stdout)
    assert told["classes"] == 3
    assert [module["rank"] for module in told["modules"]] == [3] * 4
    assert told["groups"]["head"] + told["groups"]["adapters"] == told["trainable"]
    _, stdout, _ = pennyweight("adopt", adapter, "--dry-run", "--backbone", bare)
    assert f": {told['trainable']:,}" in stdout
    assert not {"budget", "of"} & set(stdout.split()), "nobody gave one"


@pytest.mark.parametrize(
    "settings,line",
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"task_type": "CAUSAL_LM"}, "only SEQ_CLS"),
        ({"use_dora": True}, "use_dora = True: is not supported"),
        ({"bias": "all"}, "bias = 'all': is not supported"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"init_lora_weights": "pissa"}, "changes the backbone's own weights"),
        ({"swizzle": 3}, "swizzle = 3: unknown setting"),
        ({"lora_alpha": "many"}, "'many', which is no number"),
        ({"alpha_pattern": {"query": None}}, "None, which is no number"),
        ({"base_model_name_or_path": None}, "names no backbone"),
    ],
)
def test_settings_that_change_what_is_computed_are_refused(settings, line, refused, adapter, tmp_path):
    source = altered(adapter, tmp_path / "altered", **settings)
    assert line in refused("adopt", source, "--dry-run")


def test_settings_that_are_off_or_tell_nothing_are_passed_over(adapter, tmp_path):
    source = altered(
        adapter, tmp_path / "altered", swizzle=None, twist=False, eva_config={"rho": 2.0}, lora_dropout=0.3
    )
    assert describe_adapter(source).plan == describe_adapter(adapter).plan


def test_tensors_that_do_not_fit_are_refused(refused, adapter, tiny_roberta, tiny_bert, tmp_path):
    def with_tensors(name, change):
        folder = Path(shutil.copytree(adapter, tmp_path / name))
        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path)
        return folder

    def rejected(name, change):
        return refused("adopt", with_tensors(name, change), "--labels", ",".join(LABELS), "--out", tmp_path / "out")

    inside = f"base_model.model.{QUERY.format(0)}"
    assert "holds no head" in rejected("headless", lambda t: {k: v for k, v in t.items() if "lora" in k})
    assert "no LoRA factors" in rejected("bare", lambda t: {k: v for k, v in t.items() if "lora" not in k})
    assert "no factor that fits it" in rejected(
        "half", lambda t: {k: v for k, v in t.items() if k != f"{inside}.lora_A.weight"}
    )
    assert "not finite" in rejected("nan", lambda t: {k: v * float("nan") for k, v in t.items()})
    assert "has not got" in rejected(
        "elsewhere", lambda t: {k.replace("layer.1.", "layer.7."): v.clone() for k, v in t.items()}
    )
    assert "no name that PEFT gives" in rejected("renamed", lambda t: {f"x.{k}": v for k, v in t.items()})
    assert "its head is not that of a roberta" in rejected(
        "odd head", lambda t: {k.replace("out_proj", "out"): v for k, v in t.items()}
    )
    wide = make_backbone(tmp_path / "wide", "roberta", hidden_size=16)
    assert "--backbone" in refused("adopt", adapter, "--dry-run", "--backbone", wide)
    assert "--backbone" in refused("adopt", adapter, "--dry-run", "--backbone", tiny_bert)


def test_what_is_given_wrongly_is_refused(refused, adapter, tmp_path):
    out = tmp_path / "out"
    assert "tells 3 classes apart" in refused("adopt", adapter, "--labels", "a,b", "--out", out)
    assert "tells 3 classes apart" in refused("adopt", adapter, "--labels", "a,b", "--dry-run")
    assert "a name of its own" in refused("adopt", adapter, "--labels", "a,b,a", "--out", out)
    assert "give --out and --labels" in refused("adopt", adapter, "--out", out)
    assert "no such folder" in refused("adopt", tmp_path / "none", "--dry-run")
    (tmp_path / "empty").mkdir()
    assert "not a PEFT adapter" in refused("adopt", tmp_path / "empty", "--dry-run")
    assert "not empty" in refused("adopt", adapter, "--labels", ",".join(LABELS), "--out", adapter)
    assert not out.exists()
    for name, content in {"list": "[]", "broken": "{"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(content)
        assert "adapter_config.json" in refused("adopt", tmp_path / name, "--dry-run")
    damaged = altered(adapter, tmp_path / "damaged")
    (damaged / "adapter_model.safetensors").write_bytes(b"\x00" * 30)
    assert "damaged" in refused("adopt", damaged, "--dry-run")
    (damaged / "adapter_model.safetensors").unlink()
    assert "only safetensors are read" in refused("adopt", damaged, "--dry-run")


PUBLISHED = {
    "krishmurjani-lora-agnews-classification": (4, 36, 32.0, 221_184),
    "subro608-Deep_learning_Bert_project2": (12, 2, 4.0, 36_864),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_adapters_that_others_published_are_described_without_any_weights(name, real_data, pennyweight):
    source = real_data.parent / "adapters" / name
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    code, stdout, stderr = pennyweight("adopt", source, "--dry-run", "--json")
    assert code == 0, stderr
    told = json.loads(stdout)
    matrices, rank, alpha, adapters = PUBLISHED[name]
    assert told["backbone"] == "roberta-base"
    assert told["classes"] == 4
    assert {(module["rank"], module["alpha"]) for module in told["modules"]} == {(rank, alpha)}
    assert len(told["modules"]) == matrices
    assert told["groups"] == {"adapters": adapters, "head": 593_668}


def test_adapters_that_others_published_compute_what_peft_alone_computes(real_data, full_size, tmp_path):
    for name in PUBLISHED:
        source = real_data.parent / "adapters" / name
        if not source.is_dir():
            pytest.skip(f"{source} is not there")
        adopt(source, tmp_path / name, labels=("World", "Sports", "Business", "Sci/Tech"), backbone=str(full_size))
        classifier = Classifier.load(tmp_path / name, precision="fp32", device="cpu")
        expected = by_peft_alone(source, full_size, TEXTS[:2], classes=4)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(classifier.logits(TEXTS[:2]), expected, atol=1e-4)
    assert read_config("roberta-base")["hidden_size"] == classifier.manifest.backbone.hidden_size


def test_a_space_before_a_text_is_put_where_it_was_trained_with_one(adapter, tiny_roberta, tmp_path):
    adopt(adapter, tmp_path / "out", labels=LABELS, add_prefix_space=True)
    found = Classifier.load(tmp_path / "out", precision="fp32", device="cpu").logits(TEXTS)
    plain, spaced = (
        by_peft_alone(adapter, tiny_roberta, [space + text for text in TEXTS], classes=len(LABELS))
        for space in ("", " ")
    )
    assert np.abs(plain - spaced).max() > 0.1
    np.testing.assert_allclose(found, spaced, atol=2e-5)


def test_an_architecture_with_attention_of_its_own_is_adopted(tmp_path):
    backbone = make_backbone(tmp_path / "deberta", "deberta-v2")
    own = {"target_modules": ["query_proj", "value_proj"], "modules_to_save": ["classifier", "pooler"]}
    source = publish(tmp_path / "adapter", backbone, **own)
    adopt(source, tmp_path / "out", labels=LABELS)
    found = Classifier.load(tmp_path / "out", precision="fp32", device="cpu").logits(TEXTS)
    np.testing.assert_allclose(found, by_peft_alone(source, backbone, TEXTS, classes=len(LABELS)), atol=2e-5)
