"""What a prediction that was stopped is gone on with: with whatever it depends on unchanged, and with nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from streaming import WINDOW, make_table, predict, small_windows, stopping

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError, Interrupted
from pennyweight.manifest import Int8Record, record_int8
from pennyweight.model.device import Machine
from pennyweight.pipeline.partial import partial_folder
from pennyweight.pipeline.predicting import parse_columns


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    small_windows(monkeypatch)


@pytest.fixture(scope="module")
def classifier(trained) -> Classifier:
    return Classifier.load(trained, device="cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_table(tmp_path_factory.mktemp("source") / "source.csv")


class Elsewhere(Classifier):
    """A classifier on a machine for which other attention was chosen."""

    @property
    def machine(self) -> Machine:
        return replace(super().machine, attention="eager")


def other_data(path: Path) -> Path:
    header, first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, *rest, first]))
    return path


def test_going_on_with_something_else_is_refused(trained, classifier, source, tmp_path, monkeypatch):
    mine = Path(shutil.copy(source, tmp_path / "mine.csv"))
    out = tmp_path / "p.csv"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stopping(patch, 1)
        predict(classifier, mine, out)
    before = {path: path.read_bytes() for path in partial_folder(out).iterdir()}
    with pytest.raises(InputError, match=r"holds 32 rows of an unfinished run; go on with --resume, or remove it"):
        predict(classifier, mine, out)
    halved = Classifier.load(trained, device="cpu", precision="bf16")
    elsewhere = Elsewhere(classifier.manifest, classifier._network, None)
    colder = Classifier(classifier.manifest.model_copy(update={"temperature": 9.0}), classifier._network, None)
    others = {
        "--columns": lambda **more: predict(classifier, mine, out, columns=parse_columns("row"), **more),
        "the choice of text columns": lambda **more: predict(classifier, mine, out, text=("id", "text"), **more),
        "--on-bad-row": lambda **more: predict(classifier, mine, out, on_bad_row="skip", **more),
        "the number format": lambda **more: predict(halved, mine, out, **more),
        "the machine's device, number format or attention": lambda **more: predict(elsewhere, mine, out, **more),
        "the classifier": lambda **more: predict(colder, mine, out, **more),
        "the data": lambda **more: predict(classifier, other_data(mine), out, **more),
    }
    for name, attempt in others.items():
        with pytest.raises(InputError, match=f"--resume: {name} changed since .* was begun"):
            attempt(resume=True)
        with pytest.raises(InputError, match=rf"unfinished run of another command \({name} differs\)"):
            attempt()
    assert before == {path: path.read_bytes() for path in partial_folder(out).iterdir()}
    # The same data under another name, or written again, are the same.
    assert predict(classifier, source, out, resume=True).resumed_after == 32


def test_going_on_with_another_pytorch_is_refused(classifier, source, tmp_path, monkeypatch):
    out, version = tmp_path / "p.csv", metadata.version
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stopping(patch, 1)
        predict(classifier, source, out)
    monkeypatch.setattr(metadata, "version", lambda name: "0" if name == "torch" else version(name))
    with pytest.raises(InputError, match="--resume: PyTorch's version changed since"):
        predict(classifier, source, out, resume=True)


def test_what_is_only_noted_down_of_a_classifier_hinders_nothing(trained, classifier, source, tmp_path):
    """`pennyweight quantise` notes what int8 costs, while a prediction waits to be gone on with."""
    folder, out, undisturbed = shutil.copytree(trained, tmp_path / "noted"), tmp_path / "p.csv", tmp_path / "u.csv"
    predict(classifier, source, undisturbed)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        stopping(patch, 1)
        predict(classifier, source, out)
    shares = {"accuracy": 0.5, "reference_accuracy": 0.5, "difference": 0.0, "agreement": 1.0}
    names = {"data": "x", "reference": "fp32", "library": "x", "version": "1"}
    record_int8(folder, Int8Record(examples=1, **shares, **names))
    again = Classifier.load(folder, device="cpu")
    assert again.manifest.int8 is not None
    assert predict(again, source, out, resume=True).resumed_after == 2 * WINDOW
    assert out.read_bytes() == undisturbed.read_bytes()
