"""A folder of several runs of one recipe, which differ in their seed alone: ``seed-0``, ``seed-1``, … and a summary."""

from __future__ import annotations

import json
from pathlib import Path

from pennyweight.errors import InputError
from pennyweight.manifest import MANIFEST
from pennyweight.pipeline.folder import is_finished

SEEDS = "seeds.json"


def folder_of(out: Path, seed: int) -> Path:
    """Where the run of a seed lies."""
    return out / f"seed-{seed}"


def check_seeds_folder(out: Path, *, resume: bool) -> None:
    """Raises InputError where ``out`` cannot take runs of several seeds, or cannot be gone on with."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if is_finished(out) or (out / "training").is_dir():
        raise InputError(f"--out {out}: holds a single run; give another folder for --seeds")
    if out.exists() and any(out.iterdir()) and not resume:
        begun = any(out.glob("seed-*"))
        remedy = "go on with --resume, or give another folder" if begun else "give a new folder"
        raise InputError(f"--out {out}: is not empty; {remedy}")


def seed_folders(out: Path) -> list[Path]:
    """The classifier folders of a finished folder of seeds.

    Raises:
        InputError: ``seeds.json`` cannot be read, or a run that it names is not there.
    """
    path = out / SEEDS
    try:
        seeds = [int(seed) for seed in json.loads(path.read_text(encoding="utf-8"))["seeds"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train anew with --seeds") from None
    folders = [folder_of(out, seed) for seed in seeds]
    for folder in folders:
        if not is_finished(folder):
            raise InputError(f"{folder}: has no {MANIFEST}, though {path} names it; go on with `--seeds … --resume`")
    if len(folders) < 2:
        raise InputError(f"{path}: names fewer than two seeds; train anew with --seeds")
    return folders
