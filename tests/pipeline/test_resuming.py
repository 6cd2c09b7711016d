"""Runs that are killed, stopped or repeated: what comes out is bit by bit what an undisturbed run gives."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import train_quietly
from tiny import table_of

from pennyweight.console import Bar, Speaker
from pennyweight.errors import InputError, Interrupted
from pennyweight.evaluation.toml_text import as_toml
from pennyweight.pipeline.folder import hold_folder
from pennyweight.pipeline.run import train_recipe
from pennyweight.recipe_files import build_recipe

WEIGHTS = ("adapter_model.safetensors", "head.safetensors")


@pytest.fixture(scope="module")
def table(tiny_roberta, small_csv):
    """Every kind of dropout, best weights kept, checkpoints at steps that are no epoch's end: 216 steps."""
    table = table_of(tiny_roberta, small_csv, epochs=12, batch_size=4)
    table["backbone"]["dropout"] = True
    table["adapters"]["dropout"] = 0.1
    table["head"]["dropout"] = 0.1
    table["training"] |= {"keep": "best", "checkpoint_steps": 7, "validations_per_epoch": 2, "metric": "loss"}
    return table


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory) -> Path:
    return train_quietly(build_recipe(table), tmp_path_factory.mktemp("undisturbed") / "classifier").folder


def command(recipe: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    code = "from pennyweight.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "train", str(recipe), "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )


def steps_logged(out: Path) -> int:
    log = out / "training" / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return sum('"step", "step"' in line for line in lines)


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    while steps_logged(out) < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def same(one: Path, other: Path) -> None:
    for name in WEIGHTS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    logs = [(folder / "report" / "log.jsonl").read_text().splitlines() for folder in (one, other)]
    records = [[json.loads(line) for line in log] for log in logs]
    for record in records[0] + records[1]:
        record.pop("examples_per_second", None)
    assert records[0] == records[1]
    manifests = [json.loads((folder / "classifier.json").read_text()) for folder in (one, other)]
    for key in ("metrics", "temperature", "files", "labels", "plan"):
        assert manifests[0][key] == manifests[1][key]


def test_killed_at_three_random_steps(table, undisturbed, tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text(as_toml(table))
    steps = [random.randint(low, low + 50) for low in (2, 70, 140)]
    for step in steps:
        process = command(recipe, out, "--resume")
        wait_for_step(process, out, step)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, steps
        assert not (out / "classifier.json").exists(), steps
    process = command(recipe, out, "--resume", "--json")
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["training"]["steps"] == 216
    same(out, undisturbed)
    assert not (out / "training").exists()
    assert not list(out.rglob(".*"))


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(table, undisturbed, tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text(as_toml(table))
    process = command(recipe, out)
    wait_for_step(process, out, 30)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    last = stderr.strip().splitlines()[-1]
    assert "a checkpoint is saved" in last
    assert "--resume" in last
    assert f"stopped after step {steps_logged(out)} of 216" in last

    with pytest.raises(InputError, match="unfinished run; go on with --resume"):
        train_quietly(build_recipe(table), out)
    train_quietly(build_recipe(table), out, resume=True)
    same(out, undisturbed)


class Interrupting(Speaker):
    """Stands for a person who presses Ctrl-C after a given step."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        super().__init__(enabled=False)
        self.step, self.number = step, number

    def bar(self, what, total):
        made = super().bar(what, total)

        def update(done: int, note: str) -> None:
            if done == self.step:
                signal.raise_signal(self.number)

        made.update = update
        return made


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "muon", "adamw-8bit"])
def test_other_optimizers_resume_exactly(optimizer, make_recipe, tmp_path):
    """Stopped at the first step, in the middle of an epoch, at its end, and before the last step."""
    training = {"optimizer": optimizer, "epochs": 2, "schedule": "plateau", "patience": 5, "learning_rate": 1e-3}
    rank = 128 if optimizer == "adamw-8bit" else 4  # moments of fewer than 4,096 elements stay in fp32
    windows = {"count": 4, "overlap": 2, "pooling": "attention"} if optimizer == "muon" else {}
    text = {"max_length": 10} if windows else {}
    recipe = make_recipe(training=training, adapters={"dropout": 0.2, "rank": rank}, text=text, windows=windows)
    train_quietly(recipe, tmp_path / "whole")
    for step, number in ((1, signal.SIGINT), (3, signal.SIGTERM), (5, signal.SIGINT), (9, signal.SIGTERM)):
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with pytest.raises(Interrupted, match=f"stopped after step {step} of 10") as caught:
            train_recipe(recipe, tmp_path / "out", resume=True, speaker=Interrupting(step, number), cpu=True)
        assert caught.value.exit_code == 130
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    train_quietly(recipe, tmp_path / "out", resume=True)
    same(tmp_path / "out", tmp_path / "whole")


def test_two_runs_are_bit_identical_and_another_seed_is_not(make_recipe, trained, tmp_path):
    again = train_quietly(make_recipe(), tmp_path / "again").folder
    same(again, trained)
    other = train_quietly(make_recipe(training={"seed": 1}), tmp_path / "other").folder
    assert all((other / name).read_bytes() != (trained / name).read_bytes() for name in WEIGHTS)


def test_resuming_with_another_recipe_is_refused(make_recipe, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        train_recipe(make_recipe(), out, speaker=Interrupting(3, signal.SIGINT), cpu=True)
    held = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        train_quietly(make_recipe(training={"learning_rate": 0.5}), out, resume=True)
    assert "begun with another recipe: training.learning_rate was 0.005 and is now 0.5" in str(caught.value)
    assert held == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_resuming_a_finished_run_leaves_it_as_it_is(make_recipe, tmp_path, capsys):
    first = train_quietly(make_recipe(), tmp_path / "out")
    held = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    # As if the process had died after its last file was written and before it had tidied up.
    (tmp_path / "out" / "training").mkdir()
    second = train_recipe(make_recipe(), tmp_path / "out", resume=True, cpu=True)
    assert "already finished" in capsys.readouterr().err
    assert held == {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    assert not (tmp_path / "out" / "training").exists()
    before, after = json.loads(json.dumps(first.as_dict())), json.loads(json.dumps(second.as_dict()))
    assert after["training"].pop("seconds") == pytest.approx(before["training"].pop("seconds"), abs=0.01)
    assert after == before
    assert second.judgement.metrics == first.judgement.metrics
    with pytest.raises(InputError, match=r"training\.epochs was 2 and is now 3"):
        train_quietly(make_recipe(training={"epochs": 3}), tmp_path / "out", resume=True)


def test_resuming_where_nothing_was_begun_begins(make_recipe, trained, tmp_path):
    same(train_quietly(make_recipe(), tmp_path / "out", resume=True).folder, trained)


def test_resuming_after_a_kill_before_anything_was_written_begins(make_recipe, trained, tmp_path):
    training = tmp_path / "out" / "training"
    training.mkdir(parents=True)
    (training / "lock").touch()
    (training / ".run.json.k1ll3d").write_text("{")
    same(train_quietly(make_recipe(), tmp_path / "out", resume=True).folder, trained)
    assert not training.exists()


def test_what_a_kill_left_of_a_checkpoint_goes_with_the_run(make_recipe, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Killed):
        train_recipe(make_recipe(), out, speaker=Dying(enabled=False))
    (out / "training" / ".checkpoint.safetensors.k1ll3d").write_bytes(b"half")
    train_quietly(make_recipe(), out, resume=True)
    assert not (out / "training").exists()


def test_resuming_on_changed_data_is_refused(tiny_roberta, small_csv, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(small_csv.read_text())
    table = table_of(tiny_roberta, data, epochs=1)
    recipe, out = build_recipe(table), tmp_path / "out"
    with pytest.raises(Killed):
        train_recipe(recipe, out, speaker=Dying(enabled=False))
    header, first, *rest = data.read_text().splitlines(keepends=True)
    data.write_text("".join([header, first.replace(",", " moreover,", 1), *rest]))
    with pytest.raises(InputError, match="has changed since the run"):
        train_recipe(recipe, out, resume=True, speaker=Speaker(enabled=False))


class Killed(BaseException):
    """Stands for the end of a process, which nothing in it has a chance to answer."""


class Dying(Speaker):
    """Dies where training would begin, after the run's folder was made."""

    def bar(self, what: str, total: int) -> Bar:
        raise Killed


def test_resuming_into_a_folder_of_something_else_is_refused_and_touches_nothing(tiny_roberta, small_csv, tmp_path):
    out = tmp_path / "project"
    (out / "training").mkdir(parents=True)
    notes = out / "training" / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        train_recipe(build_recipe(table_of(tiny_roberta, small_csv, epochs=1)), out, resume=True)
    assert notes.read_text() == "mine"
    assert [path.name for path in out.iterdir()] == ["training"]


def test_a_folder_that_another_process_trains_into_is_refused(tmp_path):
    out = tmp_path / "out"
    with hold_folder(out):
        with pytest.raises(InputError, match="another process is training here"), hold_folder(out):
            pass
        assert (out / "training" / "lock").exists()
    assert not (out / "training").exists()
    with hold_folder(out):
        pass
