"""What the machine does to a run: the Hub out of reach, the disk full. Exit 1, one line, nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path


def test_the_hub_out_of_reach(refused, monkeypatch, tmp_path, small_recipe):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_arguments, **_options):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    line = refused("plan", small_recipe, "--backbone", "owner/model", code=1)
    assert "cannot be reached" in line
    assert "--backbone FOLDER" in line
    line = refused("train", small_recipe, "--backbone", "roberta-base", "--out", tmp_path / "out", code=1)
    assert "model.safetensors" in line
    assert not (tmp_path / "out").exists()


def full_disk(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_disk_full_while_training_can_be_gone_on_with(refused, pennyweight, small_recipe, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        line = refused("train", small_recipe, "--out", out, code=1)
    assert "No space left on device" in line
    assert "free some space" in line
    assert not [path for path in out.rglob("*") if path.is_file()]
    assert pennyweight("train", small_recipe, "--out", out, "--resume")[0] == 0


def test_disk_full_while_saving_leaves_no_classifier(refused, pennyweight, small_recipe, tmp_path, monkeypatch):
    out = tmp_path / "out"
    really = os.replace

    def full_at_the_end(source, target):
        if Path(target).name == "classifier.json":
            full_disk(0)
        really(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_at_the_end)
        assert "No space left on device" in refused("train", small_recipe, "--out", out, code=1)
    assert not list(out.rglob(".*"))
    assert "training is not finished" in refused("evaluate", out, "--data", "starter")
    assert pennyweight("train", small_recipe, "--out", out, "--resume")[0] == 0
    assert (out / "classifier.json").exists()


def test_disk_full_while_predicting(refused, trained, small_csv, tmp_path):
    """A limit on the size of files stands for the disk's; it is a real failure of a real write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            line = refused("predict", trained, "--data", small_csv, "--out", tmp_path / name, code=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert f"cannot write {tmp_path / name}: File too large" in line
        assert not list(tmp_path.iterdir())
