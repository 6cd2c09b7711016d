from __future__ import annotations

import json

import pytest
from tiny import LABELS, sentences, write_csv

from pennyweight.evaluation.toml_text import as_toml


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("compared") / "test.csv", sentences(60, seed=21))


def one_object(stdout):
    assert stdout.count("\n") == 1
    return json.loads(stdout)


def test_train_with_seeds(pennyweight, refused, seeded, small_recipe, tmp_path):
    """Of finished runs: nothing is trained."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(as_toml(json.loads((seeded / "seed-0" / "classifier.json").read_text())["recipe"]))
    options = ("train", recipe, "--out", seeded, "--seeds", 2, "--resume")
    code, stdout, stderr = pennyweight(*options, "--json")
    answer = one_object(stdout)
    assert (code, stderr.count("already finished")) == (0, 2)
    assert answer == json.loads((seeded / "seeds.json").read_text())
    code, stdout, _ = pennyweight(*options)
    assert code == 0
    assert "for other items and other seeds" in stdout
    assert f"{100 * answer['metrics']['accuracy']['mean']:.2f} %" in stdout
    assert "give two or more" in refused("train", small_recipe, "--out", tmp_path / "new", "--seeds", 1)
    assert "is not empty" in refused("train", recipe, "--out", seeded)


def test_compare(pennyweight, refused, trained, seeded, data, tmp_path):
    out = tmp_path / "out"
    code, stdout, _ = pennyweight("compare", trained, seeded, "--data", data, "--out", out, "--json")
    answer = one_object(stdout)
    assert code == 0
    assert [one["name"] for one in answer["contenders"]] == [trained.name, seeded.name]
    assert {"first", "second", "accuracy", "macro_f1", "p", "p_corrected", "significant"} <= answer["pairs"][0].keys()
    assert json.loads((out / "comparison.json").read_text()) == answer
    assert (out / "comparison.html").exists()
    code, stdout, _ = pennyweight("compare", trained, seeded, "--data", data)
    assert code == 0
    assert "2 seeds" in stdout
    assert "nothing to compare" in refused("compare", trained, "--data", data)
    assert "--data is missing" in refused("compare", trained, seeded)


def test_audit(pennyweight, refused, trained, data, tmp_path):
    options = ("--data", data, "--conditions", "typos,lower")
    code, stdout, _ = pennyweight("audit", trained, *options, "--out", tmp_path / "out", "--json")
    answer = one_object(stdout)
    assert code == 0
    assert [one["name"] for one in answer["conditions"]] == ["typos", "lower"]
    assert {"clean", "lengths", "classes"} <= answer.keys()
    assert (tmp_path / "out" / "audit.html").exists()
    code, stdout, _ = pennyweight("audit", trained, *options)
    assert code == 0
    assert all(word in stdout for word in ("typos", "lower", "tokens", *LABELS))
    assert "no condition" in refused("audit", trained, "--data", data, "--conditions", "rain")
    assert "no such classifier" in refused("audit", tmp_path / "nowhere", "--data", data)


def test_choose(pennyweight, refused, trained, seeded, data):
    options = ("--data", data, "--conditions", "none")
    code, stdout, _ = pennyweight("choose", trained, seeded, *options, "--json")
    answer = one_object(stdout)
    assert code == 0
    assert answer["chosen"] in (trained.name, seeded.name)
    assert answer["why"].startswith(answer["chosen"])
    code, stdout, _ = pennyweight("choose", trained, seeded, *options, "--by", "weighted", "--weights", "clean=2")
    assert code == 0
    assert "has the best weighted accuracy" in " ".join(stdout.split())
    assert "'best' is not one of 'worst', 'mean', 'weighted'" in refused(
        "choose", trained, seeded, *options, "--by", "best"
    )
    assert "'recall' is not one of 'accuracy', 'macro_f1'" in refused(
        "choose", trained, seeded, *options, "--metric", "recall"
    )
    assert "is no weight" in refused("choose", trained, seeded, *options, "--by", "weighted", "--weights", "clean")
    assert "one for each" in refused("choose", trained, seeded, *options, "--map", "none", "--map", "none")
    assert "--data is missing" in refused("choose", trained, seeded)


def test_evaluate_with_a_mapping(pennyweight, refused, trained, tmp_path):
    names = dict(zip(LABELS, ("fruit", "sea", "tools"), strict=True))
    rows = [(text, names[label]) for text, label in sentences(60, seed=21)] + [("Fog.", "weather")]
    source = write_csv(tmp_path / "other.csv", rows)
    pairs = ",".join(f"{theirs}={ours}" for ours, theirs in names.items())
    code, stdout, _ = pennyweight("evaluate", trained, "--data", source, "--map", pairs, "--json")
    answer = one_object(stdout)
    assert code == 0
    assert (answer["examples"], answer["unmapped"]) == (60, {"weather": 1})
    code, stdout, _ = pennyweight("evaluate", trained, "--data", source, "--map", pairs)
    assert "1 left out by --map (weather)" in " ".join(stdout.split())
    assert "'fruit' is none of the known ones" in refused("evaluate", trained, "--data", source)
    assert "maps nothing" in refused("evaluate", trained, "--data", source, "--map", "fruit")
