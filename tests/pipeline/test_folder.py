"""The folder of a run that was refused: free again, unless something was worked in it."""

from __future__ import annotations

import pytest
from conftest import train_quietly
from tiny import write_csv

from pennyweight.errors import InputError, Interrupted
from pennyweight.pipeline.folder import forget_unworked


def test_a_run_refused_before_it_has_worked_leaves_its_folder_free(make_recipe, trained, tmp_path):
    few = {"label_noise": "drop", "label_noise_folds": 40}
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"set filter\.label_noise_folds to"):
        train_quietly(make_recipe(filter=few), out)
    assert not out.exists() or not any(out.iterdir())
    train_quietly(make_recipe(training={"epochs": 1}), out)
    assert (out / "classifier.json").exists()


@pytest.mark.parametrize(
    "work", ["labeller-1-1.safetensors", "labeller-1-1/checkpoint.safetensors", "out-of-fold/0/log"]
)
def test_what_a_refused_run_had_worked_stays(work, tmp_path):
    training = tmp_path / "training"
    (training / work).parent.mkdir(parents=True)
    for name in ("run.json", "ranks.json", work):
        (training / name).write_text("{}")
    forget_unworked(tmp_path)
    assert {str(path.relative_to(training)) for path in training.rglob("*") if path.is_file()} == {
        "run.json",
        "ranks.json",
        work,
    }
    (training / work).unlink()
    forget_unworked(tmp_path)
    assert not training.exists()


def test_a_run_that_is_stopped_before_it_has_worked_leaves_the_folder_to_the_next(make_recipe, monkeypatch, tmp_path):
    recipe, out = make_recipe(training={"epochs": 1}), tmp_path / "out"

    def train(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pennyweight.pipeline.run.train_network", train)
        train_quietly(recipe, out)
    train_quietly(recipe, out)
    assert (out / "classifier.json").exists()


def test_a_run_that_is_refused_leaves_no_folder_that_it_has_made(make_recipe, tmp_path):
    recipe = make_recipe(data={"source": str(write_csv(tmp_path / "one.csv", [("a text", "x")] * 8))})
    with pytest.raises(InputError):
        train_quietly(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_refused_when_it_is_gone_on_with_stays(make_recipe, monkeypatch, tmp_path):
    recipe, out = make_recipe(training={"epochs": 1}), tmp_path / "out"

    def refuse(error):
        def train(*_arguments, **_options):
            raise error

        monkeypatch.setattr("pennyweight.pipeline.run.train_network", train)

    refuse(Interrupted("stopped"))
    with pytest.raises(Interrupted):
        train_quietly(recipe, out)
    refuse(InputError("bitsandbytes is missing"))
    with pytest.raises(InputError, match="bitsandbytes"):
        train_quietly(recipe, out, resume=True)
    assert (out / "training" / "run.json").exists()
    monkeypatch.undo()
    train_quietly(recipe, out, resume=True)
    assert (out / "classifier.json").exists()
