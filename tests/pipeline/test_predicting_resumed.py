"""Predicting that is stopped or killed and gone on with: what comes out is what an undisturbed run gives."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from streaming import (
    COLUMNS,
    FORMATS,
    ROWS,
    WINDOW,
    content,
    make_table,
    names,
    predict,
    small_windows,
    stopping,
    table_with_holes,
)

from pennyweight.classifier import Classifier
from pennyweight.cli import main
from pennyweight.errors import Interrupted
from pennyweight.pipeline import partial, predicting
from pennyweight.pipeline.partial import partial_folder


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    small_windows(monkeypatch)


@pytest.fixture(scope="module")
def classifier(trained) -> Classifier:
    return Classifier.load(trained, device="cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_table(tmp_path_factory.mktemp("source") / "source.csv")


@pytest.fixture(scope="module")
def undisturbed(classifier, source, tmp_path_factory):
    """What a run gives that nothing disturbs, by format."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        small_windows(patch)
        for suffix in FORMATS:
            predict(classifier, source, folder / f"p{suffix}")
    return {suffix: content(folder / f"p{suffix}") for suffix in FORMATS}


@pytest.fixture(params=FORMATS)
def out(request, tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / f"p{request.param}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_stopped_it_goes_on_where_it_was(number, after, classifier, source, out, undisturbed, monkeypatch):
    """What is done is neither tokenised nor computed again."""
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    done = (after + 1) * WINDOW
    with monkeypatch.context() as patch:
        stopping(patch, after, number)
        with pytest.raises(Interrupted, match=f"stopped after {done} rows; they are saved: .* --resume") as caught:
            predict(classifier, source, out)
    assert caught.value.exit_code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert not out.exists()

    tokenised, really = [], Classifier.tokenise

    def tokenise(self, texts):
        tokenised.extend(texts)
        return really(self, texts)

    monkeypatch.setattr(Classifier, "tokenise", tokenise)
    finished = predict(classifier, source, out, resume=True)
    assert (finished.rows, finished.resumed_after, len(tokenised)) == (ROWS, done, ROWS - done)
    assert content(out) == undisturbed[out.suffix]
    assert names(out.parent) == [out.name]


def test_a_request_during_the_last_window_comes_too_late(classifier, source, out, undisturbed, monkeypatch):
    stopping(monkeypatch, ROWS // WINDOW)
    predict(classifier, source, out)
    assert content(out) == undisturbed[out.suffix]


def test_stopped_it_still_knows_the_rows_it_passed_over(classifier, tmp_path, monkeypatch):
    source, out = table_with_holes(tmp_path / "holes.csv"), tmp_path / "p.csv"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stopping(patch, 1)
        predict(classifier, source, out, on_bad_row="skip")
    done = predict(classifier, source, out, on_bad_row="skip", resume=True)
    assert (done.rows, done.skipped, done.resumed_after) == (66, 34, 32)


def test_resume_where_nothing_was_begun_begins(classifier, source, out, undisturbed):
    out.write_text("of an earlier run")
    predict(classifier, source, out, resume=True)
    assert content(out) == undisturbed[out.suffix]


def snapshots(monkeypatch, folder: Path, into: Path) -> list[Path]:
    """Copy the folder whenever a file in it is synced, renamed or removed: what a killed process would leave there."""
    taken: list[Path] = []

    def watched(really):
        def call(*arguments, **options):
            taken.append(Path(shutil.copytree(folder, into / str(len(taken)))))
            result = really(*arguments, **options)
            taken.append(Path(shutil.copytree(folder, into / str(len(taken)))))
            return result

        return call

    for module, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "rmdir")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    return taken


def test_killed_at_any_point_it_goes_on(classifier, source, out, undisturbed, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        taken = snapshots(patch, out.parent, tmp_path / "taken")
        predict(classifier, source, out)
    assert len(taken) > 50
    rows = set()
    for folder in taken:
        left = folder / out.name
        # The tail that was not saved may end anywhere, in the middle of a row too.
        growing = partial_folder(left) / "rows"
        if growing.exists() and len(rows) % 2:
            with growing.open("ab") as file:
                file.write(b'17,"half of a r')
        done = predict(classifier, source, left, resume=True)
        rows.add(done.resumed_after)
        assert content(left) == undisturbed[out.suffix], folder
        assert names(folder) == [left.name], folder
    assert rows == {0, 16, 32, 48, 64, 75}


@pytest.mark.parametrize("kind", ["hub", "gz", "parquet"])
def test_every_kind_of_source_can_be_gone_on_with(kind, classifier, source, undisturbed, tmp_path, monkeypatch):
    if kind == "gz":
        name = tmp_path / "source.csv.gz"
        name.write_bytes(gzip.compress(source.read_bytes()))
    else:
        name = tmp_path / "set" / "test.parquet"
        name.parent.mkdir()
        pq.write_table(pyarrow.csv.read_csv(source), name)
    if kind == "hub":
        name = f"hub:{name.parent}"
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "p.csv"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stopping(patch, 1)
        predict(classifier, name, out)
    assert predict(classifier, name, out, resume=True).resumed_after == 2 * WINDOW
    assert content(out) == undisturbed[".csv"]


def test_the_command_says_how_to_go_on(pennyweight, trained, source, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    command = ("predict", trained, "--data", source, "--out", out)
    with monkeypatch.context() as patch:
        stopping(patch, 1)
        code, stdout, stderr = pennyweight(*command)
    assert (code, stdout) == (130, "")
    last = "stopped after 32 rows; they are saved: the same command with --resume goes on"
    assert stderr.splitlines()[-1] == f"pennyweight: {last}"
    code, _, stderr = pennyweight(*command)
    assert (code, "go on with --resume" in stderr) == (2, True)
    code, _, stderr = pennyweight(*command, "--resume")
    assert code == 0
    assert f"{ROWS} rows predicted, 32 of them before in " in stderr.splitlines()[-1]
    assert stderr.splitlines()[-1].endswith(f" rows/s: {out}")


def command(arguments: list[str], errors: Path) -> None:
    """What a process of its own runs: the command, with small windows that are saved at once."""
    partial.SECONDS_BETWEEN_JOURNALS, predicting.WINDOW = 0.0, 64
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    main(arguments)


@pytest.fixture(scope="module")
def processes():
    """A place to start processes from, where what they import has been imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pennyweight.model.network", "pennyweight.pipeline.predicting", "peft", "pyarrow"])
    return context


def rows_saved(out: Path) -> int:
    journal = partial_folder(out) / "journal.json"
    return json.loads(journal.read_text())["rows"] if journal.exists() else 0


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_killed_processes_lose_and_double_nothing(suffix, processes, trained, classifier, tmp_path, monkeypatch):
    small_windows(monkeypatch, 64)
    source, out, expected = (
        make_table(tmp_path / "long.csv", 4000),
        tmp_path / f"p{suffix}",
        tmp_path / f"expected{suffix}",
    )
    predict(classifier, source, expected)
    errors = tmp_path / "errors.txt"
    arguments = ["predict", trained, "--data", source, "--out", out, "--columns", COLUMNS, "--resume"]

    def run(until: int = 0, number: signal.Signals | None = None) -> int:
        """Run the command, sending it a signal once so many rows are saved; returns its exit code."""
        process = processes.Process(target=command, args=([*map(str, arguments)], errors))
        process.start()
        while number and rows_saved(out) < until:
            assert process.is_alive(), (stops, errors.read_text())
            time.sleep(random.random() / 200)
        if number:
            os.kill(process.pid, number)
        process.join()
        return process.exitcode

    stops = [random.randint(low, low + 800) for low in (1, 1000, 2000)]
    for rows in stops:
        assert run(rows, signal.SIGKILL) == -signal.SIGKILL, stops
        assert not out.exists(), stops
    assert run(rows_saved(out) + 1, signal.SIGINT) == 130, stops
    message = errors.read_text()
    assert "Traceback" not in message
    assert f"stopped after {rows_saved(out):,} rows" in message.splitlines()[-1]
    assert run() == 0, (stops, errors.read_text())
    assert content(out) == content(expected), stops
    assert not partial_folder(out).exists()
