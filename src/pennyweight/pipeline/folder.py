"""The folder of a run: empty at first, holding checkpoint and log while it trains, a classifier when it is done."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pennyweight.errors import InputError
from pennyweight.files import held, write_json
from pennyweight.manifest import MANIFEST
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe
from pennyweight.training.fit import CHECKPOINT, LOG

TRAINING = "training"
RUN = "run.json"
LOCK = "lock"
RANKS = "ranks.json"
MIXTURE = "mixture.safetensors"
NEIGHBOURS = "neighbours-2-{}.safetensors"
"""By the sense in which texts are neighbours; the number is of the way in which they are found."""
SCRATCH = (RANKS, "teachers*.safetensors", "labeller-*.safetensors", MIXTURE, "neighbours*.safetensors")
"""Patterns of what else a run keeps for going on: ranks that were found, opinions of teachers and labellers, where
texts lie."""
KILLED = ".*"
"""Pattern of what a process killed while writing leaves: the temporary file that would have got a name."""
CONTRASTIVE = "contrastive"
OUT_OF_FOLD = "out-of-fold"
ACQUAINTED = "acquainted"
STAGES = (CONTRASTIVE, OUT_OF_FOLD, ACQUAINTED)
"""Folders, beside the checkpoint, of the stages before the run proper."""


def check_folder(out: Path, *, resume: bool) -> None:
    """Raises InputError where ``out`` cannot take a new run, or cannot be gone on with."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if not out.exists() or not any(out.iterdir()) or _barely_begun(out):
        there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        if not os.access(there, os.W_OK):
            raise InputError(f"--out {out}: {there} cannot be written to; give another folder")
        return
    unfinished = (out / TRAINING / RUN).exists()
    if resume and (unfinished or is_finished(out)):
        return
    if unfinished and not is_finished(out):
        raise InputError(_unfinished(out))
    raise InputError(f"--out {out}: is not empty; give a new folder, or remove this one first")


def is_finished(out: Path) -> bool:
    """Whether the folder already holds a finished classifier."""
    return (out / MANIFEST).exists()


@contextlib.contextmanager
def hold_folder(out: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder meanwhile; a killed process holds nothing.

    Raises:
        InputError: another process holds the folder.
        RunError: the folder cannot be made.
    """
    path, new = out / TRAINING / LOCK, not out.exists()
    refusal = f"--out {out}: another process is training here; wait for it, or give another folder"
    try:
        with held(path, refusal=refusal):
            yield
    finally:
        _remove_if_empty(path.parent)
        if new:
            _remove_if_empty(out)


def open_run(out: Path, recipe: Recipe, *, inputs: Mapping[str, str], resume: bool) -> bool:
    """Begin a run in ``out``, or go on with the one there, if it is of the same recipe and inputs.

    Args:
        out: the classifier's folder.
        recipe: what is to be trained.
        inputs: what else the result depends on, by a name for the user, each as a digest or a word.
        resume: whether going on is wanted.

    Returns:
        Whether a run begins; else the one there is gone on with.

    Raises:
        InputError: the run to be resumed was begun with another recipe, whose first differing key is named, or with
            other inputs; or there is one already and it is not to be resumed.
        RunError: the folder cannot be written.
    """
    path = out / TRAINING / RUN
    if path.exists():
        if not resume:
            raise InputError(_unfinished(out))
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
            before, recorded = begun["recipe"], dict(begun["inputs"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); train anew into another folder") from None
        require_same_recipe(before, recipe, out)
        changed = [name for name, value in inputs.items() if recorded.get(name) != value]
        if changed:
            raise InputError(
                f"--resume: the {changed[0]} has changed since the run in {out} was begun; "
                f"restore it, or train anew into another folder"
            )
        return False
    write_json(path, {"recipe": recipe.model_dump(mode="json"), "inputs": dict(inputs)})
    return True


def require_same_recipe(begun: Mapping[str, Any], recipe: Recipe, out: Path) -> None:
    """Raises InputError, naming the first differing key, where the run in ``out`` was begun with another recipe."""
    before, now = (build_recipe(begun, where=str(out)).model_dump(mode="json"), recipe.model_dump(mode="json"))
    if before != now:
        raise InputError(
            f"--resume: {out} was begun with another recipe: {_first_difference(before, now)}; give what it was begun "
            f"with, or train anew into another folder"
        )


def close_run(out: Path) -> None:
    """Remove what a finished run needed to be gone on with, where it is still there; its report holds the log."""
    remove_stages(out / TRAINING)
    for name in (CHECKPOINT, LOG, RUN):
        (out / TRAINING / name).unlink(missing_ok=True)
    for pattern in (*SCRATCH, KILLED):
        for path in (out / TRAINING).glob(pattern):
            path.unlink()
    _remove_if_empty(out / TRAINING)


def forget_unworked(out: Path) -> None:
    """Let the folder take another run, where the one that began in it was refused before it had done any work."""
    training = out / TRAINING
    files = [path for path in training.rglob("*") if path.is_file() and not path.name.startswith(".")]
    if any(path.name not in (RUN, RANKS, LOCK) for path in files):
        return
    for path in training.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    close_run(out)


def remove_stages(folder: Path) -> None:
    """Remove what the stages before a training kept beside its checkpoint."""
    for stage in STAGES:
        shutil.rmtree(folder / stage, ignore_errors=True)


def _barely_begun(out: Path) -> bool:
    """Whether a run was killed in here before it wrote anything down."""
    training = out / TRAINING
    if not training.is_dir() or any(path != training for path in out.iterdir()):
        return False
    return all(path.name == LOCK or path.name.startswith(f".{RUN}.") for path in training.iterdir())


def _remove_if_empty(folder: Path) -> None:
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def _unfinished(out: Path) -> str:
    return f"--out {out}: holds an unfinished run; go on with --resume, or give another folder"


def _first_difference(begun: dict[str, Any], now: dict[str, Any]) -> str:
    for section, keys in begun.items():
        for key, value in keys.items():
            if now[section][key] != value:
                return f"{section}.{key} was {value!r} and is now {now[section][key]!r}"
    raise AssertionError("the recipes are equal")
