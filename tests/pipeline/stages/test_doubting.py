from __future__ import annotations

import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from stopped import Stopping, weights
from tiny import LABELS, WORDS, sentences, write_csv

from pennyweight.console import Speaker
from pennyweight.data.noise import find_doubts
from pennyweight.errors import InputError, Interrupted, RunError
from pennyweight.pipeline import run as run_module
from pennyweight.pipeline.run import train_recipe
from pennyweight.pipeline.stages import doubting

FILTER = {"label_noise": "drop", "label_noise_folds": 3, "label_noise_epochs": 8}
WRONG = range(0, 150, 8)
"""Every eighth item bears the label that follows its own."""


def truths() -> list[tuple[str, str]]:
    """150 distinct texts of words of their class alone, classes in turn."""
    generator, made = random.Random(5), {}
    while len(made) < 150:
        label = LABELS[len(made) % 3]
        made.setdefault(" ".join(generator.choices(WORDS[label].split(), k=6)), label)
    return list(made.items())


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory):
    rows = [
        (text, LABELS[(LABELS.index(label) + 1) % 3] if index in WRONG else label)
        for index, (text, label) in enumerate(truths())
    ]
    return write_csv(tmp_path_factory.mktemp("noise") / "mislabelled.csv", rows)


@pytest.fixture(scope="module")
def recipe_of(make_recipe, mislabelled):
    """A function from changes to a recipe whose source has wrong labels."""

    def make(**changes):
        given = {
            "data": {"source": str(mislabelled), "validation": 0.1},
            "training": {"epochs": 1, "learning_rate": 1e-2},
        }
        return make_recipe(**{**given, "filter": FILTER, **changes})

    return make


@pytest.fixture(scope="module")
def filtered(recipe_of, tmp_path_factory):
    return train_quietly(recipe_of(), tmp_path_factory.mktemp("filtered") / "out").folder


def test_what_is_dropped_is_mostly_wrong_and_listed_with_its_own_class(filtered):
    lines = pq.read_table(filtered / "report" / "filtered.parquet").to_pylist()
    wrong = [line for line in lines if line["row"] - 1 in WRONG]
    assert len(wrong) >= 5
    assert len(wrong) > 0.5 * len(lines)  # of all items 11 % are
    assert {line["reason"] for line in lines} == {doubting.DOUBTFUL}
    truth = dict(enumerate((label for _, label in truths()), start=1))
    assert np.mean([line["found"] == truth[line["row"]] for line in wrong]) > 0.6
    assert all(line["found"] != line["label"] and 0 < line["confidence"] <= 1 for line in lines)


def test_the_network_begins_as_if_nothing_had_been_judged(recipe_of, filtered, tmp_path, monkeypatch):
    """No doubt, by a threshold that nothing reaches: the classifier is the one that is trained without judging."""
    never = recipe_of(filter={**FILTER, "label_noise_threshold": 0.999999})
    judged = train_quietly(never, tmp_path / "judged").folder
    plain = train_quietly(recipe_of(filter={"label_noise": "keep"}), tmp_path / "plain").folder
    assert weights(judged) == weights(plain) != weights(filtered)


def test_resumed_in_any_fold_or_after_it_is_the_same(recipe_of, filtered, tmp_path):
    out = tmp_path / "out"
    for stage, step in (("judging labels, fold 1 of 3", 5), ("judging labels, fold 3 of 3", 2), ("training", 1)):
        with pytest.raises(Interrupted, match="--resume"):
            train_recipe(recipe_of(), out, resume=True, speaker=Stopping(stage, step), cpu=True)
    kept = out / "training" / "out-of-fold"
    assert [path.name for path in kept.iterdir()] == [doubting.LOGITS]
    whole = (kept / doubting.LOGITS).read_bytes()
    (kept / doubting.LOGITS).write_bytes(whole[:-9])
    with pytest.raises(RunError, match="damaged"):
        train_quietly(recipe_of(), out, resume=True)
    (kept / doubting.LOGITS).write_bytes(whole)
    train_quietly(recipe_of(), out, resume=True)
    assert weights(out) == weights(filtered)
    assert not (out / "training").exists()
    tables = [pq.read_table(folder / "report" / "filtered.parquet").to_pylist() for folder in (out, filtered)]
    assert tables[0] == tables[1]


def test_copies_are_learnt_judged_and_dropped_with_their_item_and_classes_are_said(recipe_of, tmp_path, capsys):
    folder = tmp_path / "out"
    train_recipe(recipe_of(augmentation={"copies": 1}), folder, speaker=Speaker(), cpu=True)
    rows = [line["row"] for line in pq.read_table(folder / "report" / "filtered.parquet").to_pylist()]
    assert len(rows) == len(set(rows)) > 0
    said = capsys.readouterr().err
    assert f"training: {2 * (135 - len(rows))} items" in said
    assert f"{len(rows)} of 135 training items are {doubting.DOUBTFUL}, left out (" in said
    assert "orchard" in said.split(doubting.DOUBTFUL)[1]


def test_a_class_with_fewer_items_than_folds_is_refused(recipe_of, tmp_path):
    rows = [(text, label) for text, label in sentences(60) if label != "workshop"]
    rows += [("A lathe and a vice.", "workshop"), ("A plank and a clamp.", "workshop")]
    source = write_csv(tmp_path / "skewed.csv", rows)
    with pytest.raises(InputError, match=r"class workshop has 2; set filter\.label_noise_folds to 2"):
        train_quietly(recipe_of(data={"source": str(source), "validation": 0}), tmp_path / "out")


def test_relearnt_items_stay_with_the_class_suggested(recipe_of, filtered, tmp_path):
    folder = train_quietly(recipe_of(filter={**FILTER, "label_noise": "relabel"}), tmp_path / "out").folder
    listed, dropped = (pq.read_table(one / "report" / "filtered.parquet").to_pylist() for one in (folder, filtered))
    assert [{**line, "reason": ""} for line in listed] == [{**line, "reason": ""} for line in dropped]
    assert {line["reason"] for line in listed} == {doubting.RELABELLED}
    steps = [
        sum('"event": "step"' in line for line in (one / "report" / "log.jsonl").read_text().splitlines())
        for one in (folder, filtered)
    ]
    assert steps[0] >= steps[1]
    assert weights(folder) != weights(filtered)


@pytest.mark.parametrize(("shares", "means"), [("given", [0.6, 0.3, 0.1]), ("even", [1 / 3] * 3)])
def test_a_class_that_wrong_labels_prefer_loses_what_it_has_too_much(recipe_of, tmp_path, monkeypatch, shares, means):
    """Networks that learnt from labels with a favourite are told that classes are equally frequent."""
    judged = []

    def watching(probabilities, labels, **options):
        judged.append(probabilities)
        return find_doubts(probabilities, labels, **options)

    monkeypatch.setattr(doubting, "find_doubts", watching)
    generator = np.random.default_rng(0)
    monkeypatch.setattr(
        doubting, "_out_of_fold", lambda bench, *_: generator.dirichlet([6, 3, 1], len(bench.collected.learnt))
    )
    train_quietly(recipe_of(filter={**FILTER, "label_noise_shares": shares}), tmp_path / "out")
    assert judged[0].mean(axis=0) == pytest.approx(means, abs=0.05 if shares == "given" else 1e-3)
    assert judged[0].sum(axis=1) == pytest.approx(np.ones(len(judged[0])))


def test_relabelling_does_not_empty_a_class(recipe_of, monkeypatch, tmp_path):
    def all_are_of_one_class(bench, _folder, _speaker):
        sure = np.full((len(bench.collected.learnt), 3), 1e-3)
        sure[:, 0] = 0.998
        return sure

    monkeypatch.setattr(doubting, "_out_of_fold", all_are_of_one_class)
    for way in ("relabel", "drop"):
        with pytest.raises(InputError, match="class harbour has no item left to train on, the last ones are of doubt"):
            train_quietly(recipe_of(filter={**FILTER, "label_noise": way}), tmp_path / way)


def test_texts_that_differ_in_case_alone_are_judged_together(recipe_of, monkeypatch, tmp_path):
    rows = [(text, label) for text, label in truths()[:60]]
    twins = [one for text, label in rows for one in ((text, label), (text.upper(), label))]
    source = write_csv(tmp_path / "twins.csv", twins)
    seen = {}

    def deal(labels, *, origins, **options):
        seen["fold"], seen["origins"] = doubting_deal(labels, origins=origins, **options), origins
        return seen["fold"]

    doubting_deal = doubting.deal_folds
    monkeypatch.setattr(doubting, "deal_folds", deal)
    filtering = {**FILTER, "label_noise_epochs": 1}
    train_quietly(recipe_of(data={"source": str(source), "validation": 0.0}, filter=filtering), tmp_path / "out")
    assert len(set(seen["origins"].tolist())) == 60
    assert (seen["fold"][::2] == seen["fold"][1::2]).all()


def test_what_is_suggested_is_learnt_and_copies_are_judged_with_their_items(recipe_of, monkeypatch, tmp_path):
    folds, seen, learn, train = [], [], doubting._learn, run_module.train_network

    def learning(bench, items, *rest):
        folds.append((bench.collected, items))
        return learn(bench, items, *rest)

    def training(bench, *rest, **options):
        seen.append(bench.collected)
        return train(bench, *rest, **options)

    monkeypatch.setattr(doubting, "_learn", learning)
    monkeypatch.setattr(run_module, "train_network", training)
    asked = {**FILTER, "label_noise": "relabel", "label_noise_threshold": 0.2}
    folder = train_quietly(
        recipe_of(filter=asked, augmentation={"copies": 1, "operations": ["swap"]}), tmp_path / "out"
    ).folder
    for collected, items in folds:
        assert set(collected.origin[items].tolist()) == set(items[items < collected.labelled].tolist())
    lines = pq.read_table(folder / "report" / "filtered.parquet").to_pylist()
    suggested = {line["row"]: line["found"] for line in lines}
    assert len(set(suggested.values())) > 1
    (collected,) = seen
    relearnt = [item for item in collected.training if collected.rows[item] in suggested]
    assert len(relearnt) == 2 * len(suggested)
    for item in relearnt:
        assert LABELS[collected.labels[item]] == suggested[collected.rows[item]]
