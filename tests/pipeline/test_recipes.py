"""The shipped recipes from training to prediction: on a tiny backbone, on a real one, and at full size for a step."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from conftest import train_quietly
from safetensors.torch import save_file
from tiny import make_backbone, sentences, write_csv

from pennyweight.api import changed
from pennyweight.budget.backbones import read_config
from pennyweight.budget.shapes import make_config, read_architecture
from pennyweight.classifier import Classifier
from pennyweight.data.sources import stream_rows
from pennyweight.model.backbone import find_backbone, load_tokenizer
from pennyweight.model.device import choose_machine
from pennyweight.model.network import build_network
from pennyweight.pipeline.judging.judgement import judge
from pennyweight.pipeline.planning import plan_architecture, plan_recipe
from pennyweight.pipeline.preparation import schema_of_card, stream_source
from pennyweight.pipeline.unpacking import adapters_of, head_of
from pennyweight.recipe_files import load_recipe, shipped_recipes

SYSTEMS = ("qv-dense-r4", "qv-r10", "qkv-r6", "targeted-r12", "qkv-r7")
NAMES = {"orchard": "World", "harbour": "Sports", "workshop": "Business"}


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    """Four classes, since the recipes name four."""
    rows = [(text, NAMES[label]) for text, label in sentences(60)]
    rows += [(f"{text} {index}", "Sci/Tech") for index, (text, _) in enumerate(sentences(20, seed=50))]
    return write_csv(tmp_path_factory.mktemp("news") / "news.csv", rows)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_five_systems_train_evaluate_and_predict(name, six_layers, news, pennyweight, tmp_path):
    out = tmp_path / "out"
    options = [
        "--backbone",
        six_layers,
        "--data",
        news,
        "--set",
        "training.epochs=1",
        "--set",
        "evaluation.bootstrap=100",
    ]
    code, stdout, stderr = pennyweight("train", name, *options, "--out", out, "--json")
    assert code == 0, stderr
    assert (
        json.loads(stdout)["plan"]["trainable"]
        == json.loads((out / "classifier.json").read_text())["plan"]["trainable"]
    )
    code, stdout, _ = pennyweight("evaluate", out, "--data", news, "--json")
    assert json.loads(stdout)["examples"] == 80
    columns = "ID=index,Label=label_id"
    assert pennyweight("predict", out, "--data", news, "--out", tmp_path / "p.csv", "--columns", columns)[0] == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "ID,Label"
    assert len(lines) == 81
    assert {line.split(",")[1] for line in lines[1:]} <= set("0123")


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """RoBERTa-base as it is published, but for its weights, which are random, and its tokenizer, which is tiny."""
    from transformers import RobertaModel

    folder = make_backbone(tmp_path_factory.mktemp("full") / "roberta-base", "roberta")
    config = make_config(read_config("roberta-base"))
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in RobertaModel(config).state_dict().items() if tensor.ndim}
    torch.manual_seed(0)
    noise = torch.randn(2**20, dtype=torch.bfloat16) * 0.02

    def filled(name: str, shape: torch.Size) -> torch.Tensor:
        if "LayerNorm" in name:
            return (torch.ones if name.endswith("weight") else torch.zeros)(shape, dtype=torch.bfloat16)
        return noise.repeat(-(-shape.numel() // len(noise)))[: shape.numel()].reshape(shape).contiguous()

    weights = {name: filled(name, shape) for name, shape in shapes.items() if "position_ids" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("name", "count"), [("qv-dense-r4", 999_172), ("targeted-r12", 796_420)])
def test_a_step_each_way_at_full_size(name, count, full_size):
    recipe = changed(load_recipe(name), {"backbone": {"name": str(full_size), "precision": "bf16"}})
    files = find_backbone(str(full_size))
    architecture = read_architecture(files.config, classes=4)
    planned = plan_architecture(recipe, architecture, classes=4)
    network = build_network(
        files,
        choose_machine(precision="bf16", attention="auto", device=torch.device("cpu"), packable=True),
        architecture=architecture,
        planned=planned.matrices,
        head=head_of(recipe, classes=4),
        adapters=adapters_of(recipe, planned, steps=10),
        keep_dropout=recipe.backbone.dropout,
    ).train()
    trained = network.trainable()
    assert sum(parameter.numel() for parameter in trained.values()) == planned.trainable == count
    tokenizer = load_tokenizer(files, add_prefix_space=recipe.text.add_prefix_space)
    batch = tokenizer(["apple pear", "ship rope tide"], padding=True, return_tensors="pt")
    before = {key: parameter.detach().clone() for key, parameter in trained.items()}
    loss = torch.nn.functional.cross_entropy(network(batch["input_ids"], batch["attention_mask"]), torch.tensor([0, 3]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in trained.values())
    torch.optim.AdamW(trained.values(), lr=1e-3).step()
    # B begins at zero, so that A has no gradient in the first step.
    assert all(not torch.equal(trained[key], value) for key, value in before.items() if "lora_A" not in key)
    frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    assert all(parameter.grad is None and parameter.dtype == torch.bfloat16 for parameter in frozen)


def test_every_recipe_is_run_by_some_test():
    own = {"quickstart", "ag-news", "emotions", "intents", "long-documents", "few-labels", "noisy-labels"}
    assert {*SYSTEMS, *own} == set(shipped_recipes())


def test_quickstart_learns_the_starter_set(minilm, tmp_path):
    """Half of the items and a third of the epochs still teach it far more than chance, which is 25 %."""
    recipe = changed(load_recipe("quickstart"), {"training": {"epochs": 2}, "data": {"limit_per_class": 60}})
    outcome = train_quietly(recipe, tmp_path / "out")
    assert outcome.judgement.metrics.examples == 120
    assert outcome.judgement.metrics.accuracy.value > 0.75
    reloaded = Classifier.load(tmp_path / "out", device="cpu")
    assert reloaded.labels == ("World", "Sports", "Business", "Sci/Tech")


def test_ag_news_on_a_sliver_of_real_news(minilm, real_data, tmp_path):
    source, test = (str(real_data / "agnews" / f"{part}.parquet") for part in ("train", "test"))
    sections = {
        "backbone": {"name": minilm},
        "data": {"source": source, "limit": 300},
        "training": {"epochs": 2, "batch_size": 16},
    }
    outcome = train_quietly(changed(load_recipe("ag-news"), sections), tmp_path / "out")
    assert outcome.plan.trainable <= 1_000_000
    classifier = Classifier.load(tmp_path / "out", device="cpu")
    examples = islice(stream_source(test, schema_of_card(classifier.manifest)), 200)
    judgement = judge(classifier, examples, what="test", folder=None, resamples=100)
    assert judgement.metrics.accuracy.value > 0.75


@pytest.mark.parametrize(
    ("targets", "rank", "trainable"),
    [
        (["query", "value"], 8, 888_580),
        (["query", "key", "value"], 6, 925_444),
        (["query", "key", "value"], 4, 814_852),
    ],
)
def test_the_distilled_students_of_targeted_r12_are_changes_of_it(targets, rank, trainable):
    adapters = {"targets": targets, "rank": rank}
    recipe = changed(load_recipe("targeted-r12"), {"adapters": adapters, "teachers": {"sources": ["base", "large"]}})
    assert plan_recipe(recipe).trainable == trainable
    page = (Path(__file__).parents[2] / "docs" / "learn-from-teachers.md").read_text(encoding="utf-8")
    assert f"| {trainable:,} |" in page


def test_the_large_teacher_of_targeted_r12_fits_the_budget_that_it_is_given():
    recipe = load_recipe("targeted-r12", changes=["backbone.name=roberta-large", "budget.parameters=2000000"])
    adapters = {"targets": ["query", "value"], "rank": 8, "alpha": 32}
    assert plan_recipe(changed(recipe, {"adapters": adapters})).trainable == 1_840_132


def test_long_documents_on_a_few_newsgroups(minilm, real_data, tmp_path):
    """Forty real documents, an epoch: texts of several windows, from the kept output of frozen layers."""
    sections = {
        "data": {"source": str(real_data / "newsgroups20" / "train.parquet"), "limit_per_class": 2},
        "training": {"epochs": 1},
    }
    recipe = changed(load_recipe("long-documents"), sections)
    outcome = train_quietly(recipe, tmp_path / "out")
    assert outcome.plan.groups == {"adapters": 294_912, "head": 7_700, "windows": 384}
    classifier = Classifier.load(tmp_path / "out", device="cpu")
    tokens = classifier.tokenise(["the quay and the ship " * 200, "the quay"])
    assert tokens.windows().tolist() == [4, 1]
    assert tokens.full_lengths[0] > 410
    assert set(classifier.predict(["the goalie left the ice"])) <= set(recipe.data.labels)


def test_intents_on_two_questions_of_each_kind(minilm, real_data, tmp_path):
    source = str(real_data / "banking77" / "train.parquet")
    sections = {
        "data": {"source": source, "test": None, "label": "label", "limit_per_class": 2},
        "training": {"epochs": 1},
    }
    outcome = train_quietly(changed(load_recipe("intents"), sections), tmp_path / "out")
    assert outcome.plan.trainable == 361_421
    assert len(outcome.judgement.metrics.confusion) == 77


def test_emotions_on_a_few_comments(minilm, real_data, tmp_path):
    source = str(real_data / "go_emotions" / "train.parquet")
    names = [str(number) for number in range(28)]
    sections = {"data": {"source": source, "test": None, "labels": names, "limit": 300}, "training": {"epochs": 1}}
    recipe = changed(load_recipe("emotions"), sections)
    outcome = train_quietly(recipe, tmp_path / "out")
    assert outcome.plan.trainable == 342_556
    assert outcome.judgement.metrics.ranking_average_precision > 0.25
    classifier = Classifier.load(tmp_path / "out", device="cpu")
    assert len(set(classifier.manifest.thresholds)) > 10
    assert all(isinstance(labels, tuple) for labels in classifier.predict(["What a lovely day!", "So so."]))


def test_few_labels_makes_more_of_eight_texts_per_class_than_a_probe_alone(minilm, tmp_path):
    """Judged on the 120 test items of the starter set."""
    found = {}
    for name, objective in (("whole", {}), ("probe", {"contrastive_epochs": 0})):
        recipe = changed(load_recipe("few-labels"), {"data": {"limit_per_class": 8}, "objective": objective})
        outcome = train_quietly(recipe, tmp_path / name)
        assert outcome.plan.trainable == 167_428
        found[name] = outcome.judgement.metrics.accuracy.value
    assert found["whole"] > found["probe"] > 0.6


def test_noisy_labels_finds_the_answer_that_people_fall_back_on(minilm, tmp_path):
    """Of the starter set, two of five texts of the last class are called World; judged on its 120 test items."""
    rows = [(row.values["text"], row.values["label"]) for row in stream_rows("starter", split="train")]
    last = [index for index, (_, label) in enumerate(rows) if label == "Sci/Tech"]
    wrong = {index for place, index in enumerate(last) if place % 5 < 2}
    noisy = [(text, "World" if index in wrong else label) for index, (text, label) in enumerate(rows)]
    source = write_csv(tmp_path / "noisy.csv", noisy)
    found = {}
    for noise in ("relabel", "keep"):
        sections = {"data": {"source": str(source)}, "filter": {"label_noise": noise, "label_noise_epochs": 4}}
        recipe = changed(load_recipe("noisy-labels"), {**sections, "training": {"epochs": 4}})
        outcome = train_quietly(recipe, tmp_path / noise)
        assert outcome.plan.trainable == 38_404
        found[noise] = outcome.judgement.metrics.accuracy.value
    listed = pq.read_table(tmp_path / "relabel" / "report" / "filtered.parquet").to_pylist()
    assert len(listed) > len(wrong) / 2
    assert sum(line["row"] - 1 in wrong for line in listed) > len(listed) / 2
    assert found["relabel"] > found["keep"]
