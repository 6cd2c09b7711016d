"""Find a backbone, verify its weights, load and freeze it. Weights are safetensors; remote code is never run."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pennyweight.budget.backbones import ALIASES, fetch_from_hub, is_folder, read_config
from pennyweight.budget.shapes import make_config
from pennyweight.errors import InputError
from pennyweight.model.attention import NAMES, register_attention
from pennyweight.model.device import Machine
from pennyweight.model.four_bits import bitsandbytes_for, hold_in_four_bits

HUB_FILES = [
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
]

_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_WITHOUT_EFFECT = {  # on tokens, and altered by tools that save, load or publish a tokenizer
    "name_or_path",
    "is_local",
    "local_files_only",
    "model_max_length",
    "padding_side",
    "clean_up_tokenization_spaces",
    "chat_template",
}


@dataclass(frozen=True)
class BackboneFiles:
    """A backbone's files on this machine, and what identifies them."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    digest: str
    """SHA-256 of the weight file; of several, of their digests in name order."""
    tokenizer_digest: str
    """SHA-256 of `vocabulary_digest` and the settings beside it, from which Transformers rebuilds the tokenizer."""
    vocabulary_digest: str
    """SHA-256 of tokenizer.json, or of the vocabulary files where there is none."""

    @property
    def hidden_size(self) -> int:
        """Width of the encoder, under whatever name its architecture keeps it."""
        return int(make_config(self.config).hidden_size)


def find_backbone(name: str, *, revision: str | None = None) -> BackboneFiles:
    """Locate a backbone by alias, Hub id or folder, fetching it where need be, and take its digests.

    Raises:
        InputError: unknown name, missing or non-safetensors weights, weights other than those published, no tokenizer
            or one whose settings cannot be read.
        RunError: the Hub cannot be reached.
    """
    folder = _locate(name, revision)
    config = read_config(name, revision=revision)
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise InputError(
            f"backbone {name}: no model.safetensors in {folder}; only safetensors are read, "
            "convert pickled weights first"
        )
    digest = _digest(weights)
    expected = ALIASES[name].digest if name in ALIASES else None
    if expected is not None and digest != expected:
        raise InputError(
            f"backbone {name}: wrong weights digest: {weights[0]} has SHA-256 {digest}, published is {expected}; "
            f"remove the file and fetch it again"
        )
    vocabulary = [folder / "tokenizer.json"] if (folder / "tokenizer.json").exists() else _vocabulary(folder)
    if not vocabulary:
        raise InputError(
            f"backbone {name}: no tokenizer.json in {folder}; put the backbone's tokenizer beside its weights"
        )
    vocabulary_digest = _digest(vocabulary)
    settings = json.dumps([vocabulary_digest, _tokenizer_settings(name, folder)], sort_keys=True)
    return BackboneFiles(
        name=name,
        folder=folder,
        config=config,
        digest=digest,
        tokenizer_digest=hashlib.sha256(settings.encode()).hexdigest(),
        vocabulary_digest=vocabulary_digest,
    )


def load_backbone(
    files: BackboneFiles,
    machine: Machine,
    *,
    stock_head_classes: int | None,
    keep_dropout: bool,
    head_dropout: float | None,
) -> Any:
    """Load the pretrained encoder, frozen, in the machine's dtype, or in 4 bits where the machine says so.

    Args:
        files: what `find_backbone` found.
        machine: device, dtype and attention.
        stock_head_classes: number of classes of the architecture's own head; none: the bare encoder without a pooler.
        keep_dropout: keep the architecture's own dropout probabilities; otherwise they are set to 0.
        head_dropout: dropout of the stock head; none: as ``keep_dropout`` says.

    Returns:
        A Transformers model whose parameters all have ``requires_grad = False``; a stock head is freshly initialised.

    Raises:
        InputError: damaged weights, weights that do not fit the configuration, or parts of the encoder missing; 4 bits
            where bitsandbytes is missing or does not compute on the device.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    changes: dict[str, Any] = {} if keep_dropout else dict(_without_dropout(files.config))
    if stock_head_classes is not None:
        changes["num_labels"] = stock_head_classes
    family = AutoModel if stock_head_classes is None else AutoModelForSequenceClassification
    register_attention()
    if machine.four_bits:
        bitsandbytes_for("backbone.precision = nf4", machine.device)
    try:
        with _quiet_loading():
            model, report = family.from_pretrained(
                files.folder,
                config=make_config(files.config, **changes),
                dtype=torch.float32 if machine.four_bits else machine.dtype,
                attn_implementation=NAMES[machine.attention],
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"backbone {files.name}: the weights in {files.folder} cannot be loaded: {reason}") from None
    _require_complete(model, report["missing_keys"], name=files.name, stock=stock_head_classes is not None)
    if stock_head_classes is None and getattr(model, "pooler", None) is not None:
        model.pooler = None  # it feeds the stock head alone
    if head_dropout is not None:
        _set_head_dropout(model, head_dropout)
    if machine.four_bits:
        hold_in_four_bits(model, machine)
    return model.requires_grad_(False).to(machine.device)


def load_tokenizer(files: BackboneFiles, *, add_prefix_space: bool) -> Any:
    """The backbone's own fast tokenizer; raises InputError where it has none that can be read."""
    from transformers import AutoTokenizer

    options = {"add_prefix_space": True} if add_prefix_space else {}
    try:
        return AutoTokenizer.from_pretrained(files.folder, local_files_only=True, use_fast=True, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"backbone {files.name}: its tokenizer cannot be loaded: {reason}") from None


def _without_dropout(config: Mapping[str, Any]) -> dict[str, float]:
    """Configuration entries that turn every dropout of an architecture off."""
    entries = make_config(config).to_dict()
    return {key: 0.0 for key, value in entries.items() if "dropout" in key and isinstance(value, float)}


def _set_head_dropout(model: Any, probability: float) -> None:
    """Set the dropout of a stock head; raises InputError where it has none."""
    head = [child for name, child in model.named_children() if name != model.base_model_prefix]
    dropouts = [module for child in head for module in child.modules() if isinstance(module, torch.nn.Dropout)]
    if not dropouts:
        raise InputError("head.dropout: this architecture's stock head has no dropout: use head.kind = 'linear'")
    for module in dropouts:
        module.p = probability


def _locate(name: str, revision: str | None) -> Path:
    if name in ALIASES:
        alias = ALIASES[name]
        if alias.package is not None and revision is None:
            found = importlib.util.find_spec(alias.package)
            if found is not None and found.submodule_search_locations:
                return Path(found.submodule_search_locations[0]) / "model"
        name = alias.hub_id
    elif is_folder(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise InputError(f"backbone folder {name}: no such folder")
        return folder
    fetched = fetch_from_hub(name, lambda hub: hub.snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    return Path(fetched)


def _vocabulary(folder: Path) -> list[Path]:
    return sorted(path for pattern in ("vocab*", "merges.txt", "*.model") for path in folder.glob(pattern))


def _tokenizer_settings(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What stands beside a vocabulary and has effect on tokens; raises InputError where it cannot be read."""
    settings: dict[str, dict[str, Any]] = {}
    for path in (folder / file for file in _TOKENIZER_SETTINGS):
        if not path.exists():
            continue
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"backbone {name}: {path} cannot be read: {error}; restore it from a copy") from None
        if not isinstance(content, dict):
            raise InputError(f"backbone {name}: {path} holds no settings; restore it from a copy")
        settings[path.name] = {key: value for key, value in content.items() if key not in _WITHOUT_EFFECT}
    return settings


def _digest(paths: list[Path]) -> str:
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _require_complete(model: Any, missing: list[str], *, name: str, stock: bool) -> None:
    """Refuse weights that leave part of the frozen encoder random; only a fresh head may be missing."""
    prefix = model.base_model_prefix
    base_names = {key for key, _ in model.base_model.named_parameters()}
    lacking = []
    for key in missing:
        inner = key.removeprefix(f"{prefix}.")
        if inner not in base_names:
            continue  # the head, which is trained
        if inner.split(".")[0] == "pooler" and not stock:
            continue  # dropped anyway
        lacking.append(inner)
    if lacking and all(key.split(".")[0] == "pooler" for key in lacking):
        raise InputError(
            f"backbone {name}: its weights have no pooler, which its stock head needs: use head.kind = 'linear'"
        )
    if lacking:
        raise InputError(
            f"backbone {name}: its weights lack {len(lacking)} tensors of the encoder, such as {lacking[0]}"
        )


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
    """Transformers' loading bar and report off for one call: what is missing is judged by `_require_complete`."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
