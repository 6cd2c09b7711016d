from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny import LABELS, sentences, table_of, write_csv

from pennyweight.evaluation.toml_text import as_toml
from pennyweight.recipe_files import shipped_recipes


@pytest.fixture(scope="module")
def recipe(tiny_roberta, small_csv, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(as_toml(table_of(tiny_roberta, small_csv)))
    return path


@pytest.fixture
def unlabelled(tmp_path) -> Path:
    return write_csv(
        tmp_path / "new.csv", [(text, index) for index, (text, _) in enumerate(sentences(30, seed=8))], ("text", "id")
    )


def one_object(stdout: str) -> dict:
    """Exactly one JSON object, and nothing else."""
    assert stdout.count("\n") == 1
    return json.loads(stdout)


def test_help_and_import_load_nothing_heavy():
    """One process for all commands: interpreters are slow to start."""
    code = """
import contextlib, io, sys
import pennyweight
from pennyweight.cli import main
for command in ([], ["plan"], ["train"], ["evaluate"], ["compare"], ["audit"], ["choose"], ["predict"], ["recipes"]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*command, "--help"])
    assert "Usage" in out.getvalue()
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["recipes"])
heavy = {"torch", "transformers", "peft", "accelerate", "datasets", "matplotlib", "sklearn", "scipy", "pandas"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_recipes(pennyweight):
    code, stdout, stderr = pennyweight("recipes", "--json")
    assert (code, stderr) == (0, "")
    listed = one_object(stdout)["recipes"]
    assert [entry["name"] for entry in listed] == list(shipped_recipes())
    code, stdout, _ = pennyweight("recipes")
    assert code == 0
    assert all(entry["name"] in stdout and entry["description"] in stdout for entry in listed)


def test_stopped_before_there_is_anything_to_go_on_from(refused, monkeypatch):
    def shipped():
        raise KeyboardInterrupt

    monkeypatch.setattr("pennyweight.recipe_files.shipped_recipes", shipped)
    assert refused("recipes", code=130) == "pennyweight: stopped"


def test_plan(pennyweight):
    code, stdout, stderr = pennyweight("plan", "qv-dense-r4", "--json")
    assert (code, stderr) == (0, "")
    plan = one_object(stdout)
    assert {"backbone", "trainable", "budget", "within_budget", "groups", "modules"} <= plan.keys()
    assert (plan["backbone"], plan["trainable"], plan["budget"]) == ("roberta-base", 999_172, 1_000_000)
    assert plan["within_budget"] is True
    assert plan["groups"].keys() == {"adapters", "head"}
    assert all({"name", "in", "out", "rank", "parameters"} <= module.keys() for module in plan["modules"])
    assert len(plan["modules"]) == 48
    code, stdout, _ = pennyweight("plan", "qv-dense-r4")
    assert code == 0
    assert "999,172" in stdout


def test_plan_with_changes(pennyweight):
    options = ("--set", "adapters.rank=8", "--set", 'adapters.targets=["query","value"]')
    assert one_object(pennyweight("plan", "qv-dense-r4", *options, "--json")[1])["trainable"] == 888_580
    code, stdout, _ = pennyweight("plan", "ag-news", "--backbone", "minilm", "--budget", 400_000, "--json")
    plan = one_object(stdout)
    assert (code, plan["backbone"], plan["budget"]) == (0, "minilm", 400_000)
    assert plan["trainable"] <= 400_000
    # --set comes after the flags and wins.
    code, stdout, _ = pennyweight("plan", "ag-news", "--budget", 5, "--set", "budget.parameters=900_000", "--json")
    assert one_object(stdout)["budget"] == 900_000


@pytest.mark.parametrize("as_json", [True, False])
def test_over_budget(pennyweight, as_json, tmp_path):
    options = ["--set", "adapters.rank=5"]
    code, stdout, stderr = pennyweight("plan", "qv-dense-r4", *options, *["--json"] * as_json)
    assert code == 1
    assert "100,548 more than 1,000,000" in stderr
    assert "largest uniform rank that fits is 4" in stderr
    assert stderr.count("\n") == 1
    if as_json:
        assert one_object(stdout)["within_budget"] is False
    code, stdout, refusal = pennyweight("train", "qv-dense-r4", *options, "--out", tmp_path / "out")
    assert (code, stdout) == (1, "")
    assert refusal == stderr
    assert not (tmp_path / "out").exists()


def test_train_evaluate_predict(pennyweight, recipe, unlabelled, small_csv, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = pennyweight("train", recipe, "--out", out, "--json")
    assert code == 0, stderr
    answer = one_object(stdout)
    assert answer["folder"] == str(out)
    assert Path(answer["report"]).exists()
    assert answer["plan"]["trainable"] == json.loads((out / "classifier.json").read_text())["plan"]["trainable"]
    assert "90 items in 3 classes" in stderr

    code, stdout, _ = pennyweight("evaluate", out, "--data", small_csv, "--json")
    metrics = one_object(stdout)
    keys = {"examples", "accuracy", "macro_precision", "macro_recall", "macro_f1", "ece", "per_class", "confusion"}
    assert keys <= metrics.keys()
    assert metrics["accuracy"].keys() == {"value", "low", "high"}
    assert metrics["examples"] == 90 == sum(map(sum, metrics["confusion"]))
    code, stdout, _ = pennyweight("evaluate", out, "--data", small_csv, "--out", tmp_path / "judged")
    assert code == 0
    assert f"{100 * metrics['accuracy']['value']:.2f} %" in stdout
    assert (tmp_path / "judged" / "report.html").exists()

    code, stdout, stderr = pennyweight(
        "predict", out, "--data", unlabelled, "--out", tmp_path / "p.csv", "--columns", "ID=index,Label=label_id"
    )
    assert (code, stdout) == (0, "")
    assert "30 rows predicted" in stderr
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ID", "Label"]
    assert [row[0] for row in rows[1:]] == [str(index) for index in range(30)]

    from pennyweight.classifier import Classifier

    texts = [text for text, _ in sentences(30, seed=8)]
    assert [LABELS[int(row[1])] for row in rows[1:]] == Classifier.load(out, device="cpu").predict(texts)


def test_predict_formats_and_columns(pennyweight, trained, unlabelled, tmp_path):
    for name in ("a.jsonl", "a.parquet", "a.tsv", "a.csv"):
        assert pennyweight("predict", trained, "--data", unlabelled, "--out", tmp_path / name)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == lines
    assert list(lines[0]) == ["row", "label", "confidence", *(f"p_{label}" for label in LABELS)]
    for line in lines:
        shares = {label: line[f"p_{label}"] for label in LABELS}
        assert sum(shares.values()) == pytest.approx(1)
        assert line["label"] == max(shares, key=shares.__getitem__)
        assert line["confidence"] == max(shares.values())
    columns = "row,id=column:id,text,guess=label"
    pennyweight("predict", trained, "--data", unlabelled, "--out", tmp_path / "b.jsonl", "--columns", columns)
    named = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["id"] for row in named] == [str(index) for index in range(30)]
    assert [row["text"] for row in named] == [text for text, _ in sentences(30, seed=8)]
    assert [row["guess"] for row in named] == [line["label"] for line in lines]


def test_other_columns_than_those_of_training(pennyweight, trained, tmp_path):
    renamed = write_csv(tmp_path / "renamed.csv", sentences(30), ("headline", "kind"))
    same = write_csv(tmp_path / "same.csv", sentences(30))
    options = ("--text", "headline", "--label", "kind")
    one = one_object(pennyweight("evaluate", trained, "--data", renamed, *options, "--json")[1])
    other = one_object(pennyweight("evaluate", trained, "--data", same, "--json")[1])
    assert one.pop("evaluated_on") != other.pop("evaluated_on")
    assert one == other


def test_data_takes_the_place_of_the_recipes_own(pennyweight, recipe, tmp_path):
    mine = write_csv(tmp_path / "mine.csv", sentences(45, seed=30))
    options = ("--set", f"data.test={tmp_path}/none.csv", "--set", "data.test=none", "--set", "training.epochs=1")
    code, stdout, _ = pennyweight("train", recipe, "--data", mine, *options, "--out", tmp_path / "out", "--json")
    assert code == 0
    assert str(mine) in one_object(stdout)["metrics"]["evaluated_on"]


def test_debug_shows_where_an_error_comes_from(pennyweight):
    code, _, stderr = pennyweight("plan", "no-such-recipe", "--debug")
    assert code == 2
    assert "Traceback" in stderr
    assert stderr.splitlines()[-1].startswith("pennyweight: unknown recipe")


def test_a_wrong_flag_exits_2(pennyweight):
    assert pennyweight("plan", "quickstart", "--bugdet", "3")[0] == 2
    assert pennyweight("train", "quickstart")[0] == 2
    assert pennyweight("nothing")[0] == 2


def test_flags_take_any_text_a_file_system_does(refused, tmp_path):
    message = refused("train", "quickstart", "--out", str(tmp_path / "out"), "--data", "😀 data.csv", code=2)
    assert "😀 data.csv" in message
