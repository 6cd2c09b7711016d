"""Reads a published PEFT adapter of a text classifier: its settings and shapes, and no weight of a backbone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.budget.backbones import ALIASES
from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.shapes import Architecture, layer_of, make_config
from pennyweight.errors import InputError
from pennyweight.manifest import ADAPTER_CONFIG, ADAPTERS

INSIDE = "base_model.model."
"""What PEFT puts before every name."""
FACTORS = (".lora_A.weight", ".lora_B.weight")

_UNDERSTOOD = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "rank_pattern"),
    *("alpha_pattern", "target_modules", "modules_to_save", "use_rslora"),
}
_WITHOUT_EFFECT = {  # on what a trained adapter computes
    *("inference_mode", "lora_dropout", "auto_mapping", "peft_version", "megatron_core", "loftq_config"),
    *("eva_config", "corda_config", "lora_ga_config", "exclude_modules", "layers_to_transform", "layers_pattern"),
}
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the backbone's own weights as they are; others store a difference to altered ones."""


@dataclass(frozen=True)
class Published:
    """An adapter as it lies in its folder."""

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """Of every tensor, by its name without PEFT's prefix."""

    @property
    def base(self) -> str:
        """The backbone it names, by our short name where it has one."""
        name = str(self.config.get("base_model_name_or_path") or "")
        return next((alias for alias, known in ALIASES.items() if known.hub_id == name), name)

    @property
    def head(self) -> dict[str, tuple[int, ...]]:
        """The tensors that are no LoRA factors: what was saved whole."""
        return {name: shape for name, shape in self.shapes.items() if not name.endswith(FACTORS)}

    def planned(self, architecture: Architecture, *, prefix: str) -> tuple[PlannedMatrix, ...]:
        """Its matrices with rank and alpha, in the architecture's order, named within the base model.

        The rank is that of the tensors. Where the adapter divides alpha by the root of the rank (Kalajdzievski 2023,
        2312.03732), alpha is given such that it may be divided by the rank.

        Args:
            architecture: of the backbone.
            prefix: what its names begin with, dot included: the base model's name where it has a stock head.

        Raises:
            InputError: a matrix that the backbone does not have, or has in another shape; a factor without the other.
        """
        known = {f"{prefix}{matrix.name}": matrix for matrix in architecture.matrices}
        found = {}
        for name, (down, up) in _pairs(self).items():
            matrix = known.get(name)
            if matrix is None:
                raise InputError(
                    f"{self.folder / ADAPTERS}: adapts {name}, which a {architecture.model_type} encoder has not got; "
                    f"give the backbone it was trained on (--backbone)"
                )
            if (down[1:], up[:1]) != ((matrix.fan_in,), (matrix.fan_out,)):
                raise InputError(
                    f"{self.folder / ADAPTERS}: {name} is adapted from {down[-1]} to {up[0]}, the backbone's is from "
                    f"{matrix.fan_in} to {matrix.fan_out}; give the backbone it was trained on (--backbone)"
                )
            rank = down[0]
            alpha = self._alpha(name) * (math.sqrt(rank) if self.config.get("use_rslora") else 1)
            found[matrix.name] = PlannedMatrix(
                matrix.name, matrix.fan_in, matrix.fan_out, layer_of(matrix.name), rank, alpha
            )
        return tuple(found[matrix.name] for matrix in architecture.matrices if matrix.name in found)

    def _alpha(self, name: str) -> float:
        from peft.utils.other import get_pattern_key

        pattern = self.config.get("alpha_pattern") or {}
        return float(pattern.get(get_pattern_key(pattern.keys(), name), self.config["lora_alpha"]))


def read_published(folder: Path) -> Published:
    """Read a PEFT adapter's folder and check that it is one of a text classifier that can be adopted.

    Raises:
        InputError: as `read_adapter`; not for text classification, or no head in it.
    """
    published = read_adapter(folder)
    task = published.config.get("task_type")
    if task not in ("SEQ_CLS", None):
        raise InputError(
            f"{folder / ADAPTER_CONFIG}: task_type = {task!r}: only SEQ_CLS, text classifiers, are adopted"
        )
    if not published.head:
        raise InputError(
            f"{folder / ADAPTERS}: holds no head (modules_to_save), without which it classifies nothing; adopt one "
            f"that was saved with its head"
        )
    return published


def read_adapter(folder: Path) -> Published:
    """Read a PEFT adapter's folder, a classifier's among them, and check that it is plain LoRA.

    Raises:
        InputError: no such folder, a file missing or damaged, pickled weights, not LoRA, or a setting that is not known
            or not supported.
    """
    path = folder / ADAPTER_CONFIG
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not path.is_file():
        raise InputError(f"{folder}: not a PEFT adapter (no {ADAPTER_CONFIG} in it)")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: holds no settings; give the folder of a PEFT adapter")
    _require_supported(config, path)
    published = Published(folder, config, _shapes(folder / ADAPTERS))
    if not _pairs(published):
        raise InputError(f"{folder / ADAPTERS}: holds no LoRA factors")
    return published


def output_shapes(config: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The tensors of an architecture's own head, with many classes, and which of them have a row for each class."""
    import torch
    from transformers import AutoModelForSequenceClassification

    many = 10_007  # no other size of any backbone is this number
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(make_config(config, num_labels=many))
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in model.named_parameters()
        if name.split(".")[0] != model.base_model_prefix
    }
    return shapes, [name for name, shape in shapes.items() if shape[0] == many]


def classes_of(published: Published, config: Mapping[str, Any]) -> int:
    """How many classes the head of an adapter tells apart on a backbone of that configuration.

    Raises:
        InputError: the head is not the architecture's own.
    """
    expected, outputs = output_shapes(config)
    odd = sorted(published.head.keys() ^ expected.keys())
    if odd:
        raise InputError(
            f"{published.folder / ADAPTERS}: its head is not that of a {config['model_type']} for classification "
            f"(first difference: {odd[0]}); give the backbone it was trained on (--backbone)"
        )
    return published.head[outputs[0]][0]


def require_labels(published: Published, labels: Sequence[str], *, classes: int) -> None:
    """Raises InputError unless there is one label for each class of the head."""
    if len(labels) != classes:
        raise InputError(
            f"--labels: {len(labels)} are given, the head of {published.folder} tells {classes} classes apart; give "
            f"one name for each, in the order of training"
        )
    if len({label.strip() for label in labels} - {""}) < len(labels):
        raise InputError("--labels: give each label a name of its own that is not empty")


def _pairs(published: Published) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shapes of A and B by the name of the matrix that they adapt."""
    pairs: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, shape in published.shapes.items():
        if not name.endswith(FACTORS):
            continue
        matrix = name.removesuffix(FACTORS[0]).removesuffix(FACTORS[1])
        down, up = (published.shapes.get(matrix + factor, ()) for factor in FACTORS)
        if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
            raise InputError(
                f"{published.folder / ADAPTERS}: {name} of shape {list(shape)} has no factor that fits it; the file is "
                f"not complete"
            )
        pairs[matrix] = (down, up)
    return pairs


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a safetensors file, by their names without PEFT's prefix."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: missing; only safetensors are read, save the adapter as such first")
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged ({error}); fetch it again") from None
    strange = next((name for name in shapes if not name.startswith(INSIDE)), None)
    if strange is not None:
        raise InputError(f"{path}: {strange} is no name that PEFT gives; it is not a PEFT adapter's file")
    return {name.removeprefix(INSIDE): shape for name, shape in shapes.items()}


def _require_supported(config: Mapping[str, Any], path: Path) -> None:
    """Raises InputError at the first setting that would change what is computed and is not understood."""
    from peft import LoraConfig

    if config.get("peft_type") != "LORA":
        raise InputError(f"{path}: peft_type = {config.get('peft_type')!r}: only LORA can be adopted")
    pattern = config.get("alpha_pattern") or {}
    for alpha in (config.get("lora_alpha"), *(pattern.values() if isinstance(pattern, dict) else [pattern])):
        if not isinstance(alpha, int | float) or isinstance(alpha, bool):
            raise InputError(f"{path}: lora_alpha and alpha_pattern hold {alpha!r:.60}, which is no number")
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise InputError(f"{path}: init_lora_weights = {start!r}: changes the backbone's own weights, not supported")
    defaults = LoraConfig().to_dict()
    for key, value in config.items():
        if key in _UNDERSTOOD | _WITHOUT_EFFECT | {"init_lora_weights"} or not value or value == defaults.get(key):
            continue
        if key not in defaults:
            raise InputError(f"{path}: {key} = {value!r:.60}: unknown setting; upgrade PEFT, or save the adapter anew")
        raise InputError(f"{path}: {key} = {value!r:.60}: is not supported; only plain LoRA can be adopted")
