from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from abilities import needs_int8
from tiny import sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.manifest import FORMAT, Int8Record, read_manifest, record_int8

pytestmark = needs_int8


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "classifier"))


@pytest.fixture
def labelled(tmp_path) -> Path:
    return write_csv(tmp_path / "labelled.csv", sentences(120, seed=31))


def both(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """What int8 says of the labelled texts, what the classifier's own format says, and the truth."""
    texts, truth = (list(part) for part in zip(*sentences(120, seed=31), strict=True))
    answers = [Classifier.load(folder, precision=one).predict(texts) for one in ("int8", None)]
    return *answers, truth


def share(one: list[str], other: list[str]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def test_the_cost_is_measured_and_kept(pennyweight, folder, labelled):
    before = json.loads((folder / "classifier.json").read_text())
    code, stdout, stderr = pennyweight("quantise", folder, "--data", labelled, "--json")
    assert code == 0, stderr
    assert stdout.count("\n") == 1
    record = json.loads(stdout)["int8"]
    int8, own, truth = both(folder)
    assert record == {
        "data": str(labelled),
        "examples": 120,
        "accuracy": pytest.approx(share(int8, truth)),
        "reference": "fp32",
        "reference_accuracy": pytest.approx(share(own, truth)),
        "difference": pytest.approx(share(int8, truth) - share(own, truth)),
        "agreement": pytest.approx(share(int8, own)),
        "library": "torch",
        "version": torch.__version__,
    }
    assert record["agreement"] >= 0.9
    after = json.loads((folder / "classifier.json").read_text())
    assert after.pop("int8") == record
    before.pop("int8")
    assert after == before
    assert after["format"] == FORMAT
    code, stdout, _ = pennyweight("quantise", folder, "--data", labelled)
    assert code == 0
    assert f"int8 {100 * record['accuracy']:.2f} % right, fp32 {100 * record['reference_accuracy']:.2f} %" in stdout
    assert str(folder / "classifier.json") in stdout


def test_the_weights_are_not_written_again(pennyweight, folder, labelled):
    def others() -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "classifier.json"]
        return {str(path): path.read_bytes() for path in files}

    before = others()
    assert pennyweight("quantise", folder, "--data", labelled)[0] == 0
    assert others() == before


def test_int8_warns_until_its_cost_is_known(pennyweight, folder, labelled, tmp_path):
    command = ("predict", folder, "--data", labelled, "--precision", "int8", "--out")
    code, _, stderr = pennyweight(*command, tmp_path / "a.jsonl")
    assert code == 0
    warning = f"`pennyweight quantise {folder} --data LABELLED` does so"
    assert stderr.splitlines()[0].endswith(warning)
    assert stderr.count("quantise") == 1
    assert "quantise" not in pennyweight("predict", folder, "--data", labelled, "--out", tmp_path / "b.jsonl")[2]
    assert pennyweight("quantise", folder, "--data", labelled)[0] == 0
    assert "quantise" not in pennyweight(*command, tmp_path / "c.jsonl")[2]
    assert (tmp_path / "c.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert (tmp_path / "b.jsonl").read_bytes() != (tmp_path / "a.jsonl").read_bytes()
    int8, own, _ = both(folder)
    for name, expected in (("a", int8), ("b", own)):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert [row["label"] for row in rows] == expected


def test_evaluate_says_what_int8_costs_on_these_data(pennyweight, folder, labelled):
    code, stdout, stderr = pennyweight("evaluate", folder, "--data", labelled, "--precision", "int8", "--json")
    assert code == 0, stderr
    judged = json.loads(stdout)
    compared = judged["compared"]
    int8, own, truth = both(folder)
    assert (compared["precision"], compared["reference"], compared["examples"]) == ("int8", "fp32", 120)
    assert judged["accuracy"]["value"] == pytest.approx(compared["accuracy"]) == pytest.approx(share(int8, truth))
    assert compared["reference_accuracy"] == pytest.approx(share(own, truth))
    assert compared["agreement"] == pytest.approx(share(int8, own))
    stdout = pennyweight("evaluate", folder, "--data", labelled, "--precision", "int8")[1]
    assert f"the same label for {100 * compared['agreement']:.2f} %" in stdout
    plain = json.loads(pennyweight("evaluate", folder, "--data", labelled, "--precision", "bf16", "--json")[1])
    assert "compared" not in plain
    assert read_manifest(folder).int8 is None


def test_an_unknown_number_format(refused, folder, labelled, tmp_path):
    for command in (("predict", folder, "--out", tmp_path / "p.csv"), ("evaluate", folder)):
        message = refused(*command, "--data", labelled, "--precision", "int4")
        assert "'--precision'" in message
        assert "'int4' is not one of 'auto', 'fp32', 'bf16', 'int8', 'nf4'" in message


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_machine_without_fast_int8_says_so(name, refused, folder, labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    out = ("--out", tmp_path / "p.csv") if name == "predict" else ()
    message = refused(name, folder, "--data", labelled, "--precision", "int8", *out)
    assert "int8 needs a CPU with VNNI or AMX" in message
    assert "int8 needs a CPU with VNNI or AMX" in refused("quantise", folder, "--data", labelled)


def test_quantise_needs_labels(refused, folder, tmp_path):
    unlabelled = write_csv(tmp_path / "new.csv", [("a ship", 1)], ("text", "id"))
    assert "label" in refused("quantise", folder, "--data", unlabelled)
    assert read_manifest(folder).int8 is None


def test_a_record_takes_the_place_of_an_earlier_one_and_nothing_else_is_touched(folder):
    path = folder / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "remark": "from the future"}))
    first = Int8Record(
        data="starter",
        examples=120,
        accuracy=0.9,
        reference="bf16",
        reference_accuracy=0.95,
        difference=-0.05,
        agreement=0.93,
        library="torch",
        version="2.13.0",
    )
    record_int8(folder, first)
    second = first.model_copy(update={"examples": 7, "accuracy": 1.0, "difference": 0.05})
    record_int8(folder, second)
    assert read_manifest(folder).int8 == second
    assert json.loads(path.read_text())["remark"] == "from the future"


@pytest.mark.parametrize(
    ("key", "value"), [("accuracy", 1.5), ("agreement", -0.1), ("examples", 0), ("reference", "int8"), ("version", 2)]
)
def test_a_record_out_of_its_range_is_named(key, value, folder, pennyweight, labelled):
    assert pennyweight("quantise", folder, "--data", labelled)[0] == 0
    path = folder / "classifier.json"
    content = json.loads(path.read_text())
    content["int8"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"int8.{key}: .*the file was altered"):
        read_manifest(folder)
