from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import train_quietly
from stopped import sixty_texts, weights
from tiny import LABELS, sentences

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.pipeline import run as run_module
from pennyweight.pipeline.stages import self_training, surveying
from pennyweight.pipeline.stages.teaching import softened
from pennyweight.training.likeness import neighbours_by_meaning, neighbours_by_words
from pennyweight.training.mixture import mixture_logits
from pennyweight.training.propagation import propagated


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Sixty texts without labels."""
    return sixty_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def learnt(monkeypatch):
    """What each training run of a recipe is fed with."""
    seen, run = [], run_module.train_network

    def watching(bench, folder, speaker, **options):
        seen.append(bench.feeder())
        return run(bench, folder, speaker, **options)

    monkeypatch.setattr(run_module, "train_network", watching)
    return seen


def test_texts_are_labelled_and_learnt(make_recipe, texts, trained, learnt, monkeypatch, tmp_path):
    opinions = []

    def watching(logits, weights=()):
        opinions.append(logits)
        return softened(logits, weights)

    monkeypatch.setattr(self_training, "softened", watching)
    unlabelled = {"source": texts, "rounds": 2, "labellers": 2, "epochs": 1, "weight": 0.5, "learning_rate": 2e-3}
    outcome = train_quietly(make_recipe(unlabelled=unlabelled), tmp_path / "out")
    (feeder,) = learnt
    assert (feeder.course.items, feeder.course.epochs) == (72 + 60, 1)
    assert (feeder.extras["mixture"][:72] == 0).all()
    assert (feeder.extras["weight"] == [1.0] * 72 + [0.5] * 60).all()
    targets = feeder.extras["soft_targets"][72:]
    assert targets.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-6)
    assert (feeder.labels[72:] == targets.argmax(axis=1)).all()
    np.testing.assert_allclose(targets, softened(opinions[-1]), atol=1e-6)
    assert [len(one) for one in opinions] == [2, 2]
    assert len({logits.tobytes() for one in opinions for logits in one}) == 4
    record = json.loads((outcome.folder / "classifier.json").read_text())["environment"]["unlabelled"]
    assert record["texts"] == 60
    assert [one["round"] for one in record["rounds"]] == [1, 2]
    assert [sum(one["classes"].values()) for one in record["rounds"]] == [60, 60]
    assert set(record["rounds"][0]["thresholds"]) == set(LABELS)
    assert not (outcome.folder / "training").exists()
    log = [json.loads(line) for line in (outcome.folder / "report" / "log.jsonl").read_text().splitlines()]
    rates = [one["learning_rate"] for one in log if one["event"] == "step"]
    assert len(rates) == 9
    assert 1e-3 < max(rates) <= 2e-3
    assert outcome.judgement.metrics.examples == 18
    assert weights(outcome.folder) != weights(trained)


def test_hard_labels_are_learnt_as_if_they_were_given(make_recipe, texts, learnt, tmp_path):
    train_quietly(make_recipe(unlabelled={"source": texts, "labels": "hard"}), tmp_path / "out")
    (feeder,) = learnt
    assert (feeder.extras["mixture"] == 0).all()
    assert feeder.labels.min() >= 0


def test_only_what_is_believed_is_learnt(make_recipe, texts, learnt, monkeypatch, tmp_path):
    """Thirty texts are surely of the first class, ten probably; twenty are probably of the second, none surely."""
    opinions = np.repeat([[0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]], [30, 10, 20], axis=0)
    monkeypatch.setattr(self_training, "softened", lambda *_: opinions)
    outcome = train_quietly(make_recipe(unlabelled={"source": texts, "confidence": 0.8}), tmp_path / "out")
    (feeder,) = learnt
    record = json.loads((outcome.folder / "classifier.json").read_text())["environment"]["unlabelled"]["rounds"][0]
    assert record["classes"] == dict(zip(LABELS, (30, 20, 0), strict=True))
    assert record["thresholds"] == dict(zip(LABELS, (0.8, 0.0, 0.0), strict=True))
    assert feeder.course.items == 72 + record["chosen"] == 122
    assert feeder.labels[72:].tolist() == [0] * 30 + [1] * 20
    np.testing.assert_allclose(
        feeder.extras["soft_targets"][72:], np.delete(opinions, range(30, 40), axis=0), rtol=1e-6
    )


def test_teachers_label_the_texts_where_they_are_to(make_recipe, texts, trained, learnt, tmp_path):
    recipe = make_recipe(
        teachers={"sources": [str(trained)], "mixture": 0.4}, unlabelled={"source": texts, "labeller": "teachers"}
    )
    train_quietly(recipe, tmp_path / "out")
    (feeder,) = learnt
    assert feeder.extras["mixture"] == pytest.approx([0.4] * 72 + [1.0] * 60)
    assert feeder.extras["temperature"].tolist() == [2.0] * 72 + [1.0] * 60
    logits = Classifier.load(trained, device="cpu").logits([text for text, _ in sentences(150)[90:]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(feeder.extras["soft_targets"][72:], expected, atol=1e-5)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_mixture_labels_the_texts_before_any_network_does(make_recipe, texts, learnt, monkeypatch, tmp_path, rounds):
    given, trained = [], []

    def watching(features, labelled, labels, **options):
        given.append((features.shape, labelled.shape, labels, options["shares"]))
        return mixture_logits(features, labelled, labels, **options)

    monkeypatch.setattr(surveying, "mixture_logits", watching)
    monkeypatch.setattr(self_training, "train_network", lambda *_, what, **__: trained.append(what))
    recipe = make_recipe(unlabelled={"source": texts, "labeller": "mixture", "alignment": True, "rounds": rounds})
    train_quietly(recipe, tmp_path / "out")
    (feeder,) = learnt
    ((of_texts, of_items, labels, shares),) = given
    assert (of_texts[0], of_items[0], len(labels)) == (60, 72, 72)
    assert of_texts[1] == of_items[1]
    assert (labels == feeder.labels[:72]).all()
    assert shares == pytest.approx(np.bincount(labels) / 72)
    assert feeder.extras["soft_targets"][72:].sum(axis=1) == pytest.approx(np.ones(60), abs=1e-6)
    assert trained == [f"round {number}, labeller 1 of 1" for number in range(2, rounds + 1)]


@pytest.mark.parametrize("alignment", [False, True])
def test_neighbours_have_a_say_in_every_round(make_recipe, texts, learnt, monkeypatch, tmp_path, alignment):
    heard, found = [], []

    def listening(believed, given, neighbours, *, shares):
        heard.append((believed, given, neighbours, shares))
        return propagated(believed, given, neighbours, shares=shares)

    def finding(features, texts, count, **options):
        found.append((features.shape, texts))
        return neighbours_by_meaning(features, texts, count, **options)

    def finding_words(vectors, texts, count, **options):
        found.append((vectors.shape[0], texts))
        return neighbours_by_words(vectors, texts, count, **options)

    monkeypatch.setattr(self_training, "propagated", listening)
    monkeypatch.setattr(surveying, "neighbours_by_meaning", finding)
    monkeypatch.setattr(surveying, "neighbours_by_words", finding_words)
    unlabelled = {"source": texts, "rounds": 2, "neighbours": 5, "alignment": alignment}
    out = train_quietly(make_recipe(unlabelled=unlabelled), tmp_path / "out").folder
    (feeder,) = learnt
    ((first, given, _, shares), (second, again, neighbours, _)) = heard
    assert found == [((60 + 72, 32), 60), (60 + 72, 60)]  # once for both rounds
    meaning, words = neighbours
    assert meaning.nearest.shape == words.nearest.shape == (60, 5)
    assert (meaning.nearest != words.nearest).any()
    assert (given == np.eye(3)[feeder.labels[:72]]).all()
    assert (again == given).all()
    assert (first != second).any()
    assert shares == (pytest.approx(np.bincount(feeder.labels[:72]) / 72) if alignment else None)
    expected = propagated(second, given, neighbours, shares=shares)
    assert (expected != second).any()
    np.testing.assert_allclose(feeder.extras["soft_targets"][72:], expected, atol=1e-3 if alignment else 1e-6)
    assert not (out / "training").exists()


def test_neighbours_have_a_say_in_what_teachers_tell(make_recipe, texts, trained, monkeypatch, tmp_path):
    heard = []
    monkeypatch.setattr(self_training, "propagated", lambda believed, *_, **__: heard.append(believed) or believed)
    recipe = make_recipe(
        teachers={"sources": [str(trained)]}, unlabelled={"source": texts, "labeller": "teachers", "neighbours": 5}
    )
    out = train_quietly(recipe, tmp_path / "out").folder
    logits = Classifier.load(trained, device="cpu").logits([text for text, _ in sentences(150)[90:]])
    np.testing.assert_allclose(heard, [softened([logits])], atol=1e-5)
    assert not (out / "training").exists()


def test_without_neighbours_none_is_looked_for(make_recipe, texts, monkeypatch, tmp_path):
    monkeypatch.setattr(surveying, "neighbours_by_meaning", None)
    monkeypatch.setattr(surveying, "neighbours_by_words", None)
    train_quietly(make_recipe(unlabelled={"source": texts}), tmp_path / "out")


@pytest.mark.parametrize(("sense", "other"), [("meaning", "words"), ("words", "meaning")])
def test_neighbours_in_one_sense_alone(make_recipe, texts, monkeypatch, tmp_path, sense, other):
    heard = []
    monkeypatch.setattr(
        self_training, "propagated", lambda believed, _, neighbours, **__: heard.append(neighbours) or believed
    )
    monkeypatch.setattr(surveying, f"neighbours_by_{other}", None)
    unlabelled = {"source": texts, "neighbours": 5, "neighbours_by": sense}
    train_quietly(make_recipe(unlabelled=unlabelled), tmp_path / "out")
    [[neighbours]] = heard
    assert neighbours.nearest.shape == (60, 5)


def test_what_a_kill_left_of_a_labellers_checkpoint_is_no_hindrance(make_recipe, texts, monkeypatch, tmp_path):
    train = self_training.train_network

    def leaving(bench, folder, speaker, **options):
        (folder / ".checkpoint.safetensors.k1ll3d").write_bytes(b"half")
        return train(bench, folder, speaker, **options)

    monkeypatch.setattr(self_training, "train_network", leaving)
    out = train_quietly(make_recipe(unlabelled={"source": texts}), tmp_path / "out").folder
    assert not (out / "training").exists()


def test_the_classes_are_as_frequent_as_among_the_labels(make_recipe, texts, learnt, tmp_path):
    train_quietly(make_recipe(unlabelled={"source": texts, "alignment": True}), tmp_path / "out")
    (feeder,) = learnt
    shares = np.bincount(feeder.labels[:72], minlength=3) / 72
    np.testing.assert_allclose(feeder.extras["soft_targets"][72:].mean(axis=0), shares, atol=1e-3)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"unlabelled": {"rounds": 2}}, "name them in unlabelled.source"),
        ({"unlabelled": {"source": "x", "labeller": "teachers"}}, "name them in teachers.sources"),
        (
            {"unlabelled": {"source": "x", "labeller": "mixture", "labellers": 3}},
            "asks no network in the first round",
        ),
        (
            {"unlabelled": {"source": "x", "labeller": "teachers", "rounds": 2}, "teachers": {"sources": "t"}},
            "rounds and labellers have no meaning",
        ),
        ({"unlabelled": {"source": "x", "confidence": 1.0}}, "unlabelled.confidence = 1.0"),
        ({"unlabelled": {"source": "x", "strength": 1.0}}, "unlabelled.strength = 1.0"),
        ({"unlabelled": {"source": "x", "neighbours": 1001}}, "unlabelled.neighbours = 1001"),
        ({"unlabelled": {"source": "x", "neighbours_by": "words"}}, "no meaning without unlabelled.neighbours"),
        ({"unlabelled": {"source": "x", "neighbours": 9, "neighbours_by": []}}, "unlabelled.neighbours_by"),
        ({"unlabelled": {"source": "x", "neighbours": 9, "neighbours_by": "sound"}}, "'meaning' or 'words'"),
        ({"unlabelled": {"source": "x", "neighbours": 9, "neighbours_by": ["words"] * 2}}, "given twice"),
        ({"unlabelled": {"neighbours": 20}}, "name them in unlabelled.source"),
    ],
)
def test_sections_that_mean_nothing_are_refused(sections, message, make_recipe):
    with pytest.raises(InputError, match=message):
        make_recipe(**sections)


def test_a_file_of_logits_cannot_label_texts(make_recipe, texts, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "logits.parquet"
    pq.write_table(pa.table({"row": np.arange(1, 91), **{name: np.zeros(90) for name in LABELS}}), file)
    recipe = make_recipe(teachers={"sources": [str(file)]}, unlabelled={"source": texts, "labeller": "teachers"})
    with pytest.raises(InputError, match="holds logits of the training data alone"):
        train_quietly(recipe, tmp_path / "out")
