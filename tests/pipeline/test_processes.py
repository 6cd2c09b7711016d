"""Two processes under `accelerate launch` learn what one learns from the same global batches.

`accelerate launch --num_processes 2 --cpu` alone starts one process (huggingface/accelerate issue 2741): two on CPUs
take its distributed launcher, which bears the name of the GPUs, told by the environment to stay on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from conftest import train_quietly
from safetensors.torch import load_file
from tiny import sentences, table_of, write_csv

from pennyweight.evaluation.toml_text import as_toml
from pennyweight.pipeline.processes import PATIENCE, start_process
from pennyweight.recipe_files import build_recipe


@pytest.mark.parametrize(("targets", "windows"), [("all-linear", 1), (["query@1:", "value@1:"], 4)])
def test_two_processes_are_one(targets, windows, tiny_roberta, small_csv, tmp_path):
    """Batches of 5 over 72 items: the last batch of an epoch is short, and the processes' shares differ.

    With windows a process may have a batch in which no text has two, and the query that weighs them no say. With them
    come texts without labels, so that two networks are trained, one after the other.
    """
    table = table_of(tiny_roberta, small_csv, epochs=2, batch_size=5)
    table["adapters"]["targets"] = targets
    table["training"] |= {"accumulation": 2, "learning_rate": 1e-3, "metric": "loss"}
    if windows > 1:
        table["text"]["max_length"] = 24
        table["windows"] = {"count": windows, "overlap": 4, "pooling": "attention"}
        texts = write_csv(tmp_path / "texts.csv", sentences(130)[90:])
        table["unlabelled"] = {"source": str(texts), "epochs": 1}
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(as_toml(table))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0"]
    command = Path(sys.executable).with_name("pennyweight")
    done = subprocess.run(
        [*launch, str(command), "train", str(recipe), "--out", str(tmp_path / "two"), "--json"],
        env={
            **os.environ,
            "PENNYWEIGHT_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("1 frozen layers from the cache" in done.stderr) == (targets != "all-linear")
    answer = json.loads(done.stdout)
    assert json.loads((tmp_path / "two" / "classifier.json").read_text())["environment"]["processes"] == 2

    one = train_quietly(build_recipe(table), tmp_path / "one")
    table["training"]["learning_rate"] = 1e-12
    train_quietly(build_recipe(table), tmp_path / "none")
    for name in ("adapter_model.safetensors", "head.safetensors"):
        ours, theirs, start = (load_file(tmp_path / folder / name) for folder in ("one", "two", "none"))
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            torch.testing.assert_close(theirs[key], tensor, rtol=1e-3, atol=2e-5)
        assert max((tensor - start[key]).abs().max() for key, tensor in ours.items()) > 1e-3
    assert one.fitted.steps == answer["training"]["steps"]
    metrics = one.judgement.as_dict()
    assert answer["metrics"]["confusion"] == json.loads(json.dumps(metrics["confusion"]))
    assert answer["metrics"]["log_loss"] == pytest.approx(metrics["log_loss"], abs=1e-5)
    assert answer["metrics"]["temperature"] == pytest.approx(metrics["temperature"], rel=1e-3)

    logs = [(tmp_path / folder / "report" / "log.jsonl").read_text().splitlines() for folder in ("one", "two")]
    ours, theirs = ([json.loads(line) for line in log] for log in logs)
    assert [record["event"] for record in ours] == [record["event"] for record in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert other["loss"] == pytest.approx(mine["loss"], abs=1e-4)
        if mine["event"] == "step":
            assert other["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-3)


def test_a_process_waits_for_days_for_another():
    """Which may be judging or asking teachers alone; by itself PyTorch gives up after ten minutes or thirty."""
    handler = start_process(cpu=True).init_handler
    assert handler.timeout == PATIENCE >= timedelta(days=1)
