"""The folder of a run: empty at first, holding checkpoint and log while it trains, a classifier when it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pennyweight.errors import InputError
from pennyweight.files import write_json
from pennyweight.manifest import MANIFEST
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe
from pennyweight.training.fit import CHECKPOINT, LOG

TRAINING = "training"
RUN = "run.json"


def check_folder(out: Path, *, resume: bool) -> None:
    """Raises InputError where ``out`` cannot take a new run, or cannot be gone on with."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    unfinished = (out / TRAINING / RUN).exists()
    if resume and (unfinished or is_finished(out)):
        return
    if unfinished and not is_finished(out):
        raise InputError(f"--out {out}: holds an unfinished run; go on with --resume, or give another folder")
    raise InputError(f"--out {out}: is not empty; give a new folder, or remove this one first")


def is_finished(out: Path) -> bool:
    """Whether the folder already holds a finished classifier."""
    return (out / MANIFEST).exists()


def open_run(out: Path, recipe: Recipe, *, data_digest: str) -> Path:
    """Make or reopen the folder that checkpoint and log live in while the run is under way.

    Raises:
        InputError: the run to be resumed was begun with another recipe, whose first differing key is named, or on
            other data.
        RunError: the folder cannot be written.
    """
    folder = out / TRAINING
    path = folder / RUN
    if path.exists():
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: cannot be read ({error}); train anew into another folder") from None
        require_same_recipe(begun["recipe"], recipe, out)
        if begun["data_sha256"] != data_digest:
            raise InputError(
                f"--resume: {recipe.data.source} has changed since the run in {out} was begun; "
                f"restore it, or train anew into another folder"
            )
        return folder
    write_json(path, {"recipe": recipe.model_dump(mode="json"), "data_sha256": data_digest})
    return folder


def require_same_recipe(begun: Mapping[str, Any], recipe: Recipe, out: Path) -> None:
    """Raises InputError, naming the first differing key, where the run in ``out`` was begun with another recipe."""
    before, now = (build_recipe(begun, where=str(out)).model_dump(mode="json"), recipe.model_dump(mode="json"))
    if before != now:
        raise InputError(f"--resume: {out} was begun with another recipe: {_first_difference(before, now)}")


def close_run(out: Path) -> None:
    """Remove checkpoint and log of a finished run, where they are still there; its report holds the log."""
    folder = out / TRAINING
    for name in (CHECKPOINT, LOG, RUN):
        (folder / name).unlink(missing_ok=True)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def _first_difference(begun: dict[str, Any], now: dict[str, Any]) -> str:
    for section, keys in begun.items():
        for key, value in keys.items():
            if now[section][key] != value:
                return f"{section}.{key} was {value!r} and is now {now[section][key]!r}"
    raise AssertionError("the recipes are equal")
