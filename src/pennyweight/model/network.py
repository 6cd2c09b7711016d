"""The whole network: frozen encoder, adapters, head. Token batches in, fp32 logits out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.shapes import Architecture
from pennyweight.model.adapters import adapter_state, open_adapters, place_adapters, read_tensors, require_same_shapes
from pennyweight.model.backbone import BackboneFiles, load_backbone
from pennyweight.model.device import Machine
from pennyweight.model.heads import make_head, pool


@dataclass(frozen=True)
class HeadShape:
    """Which head, and its sizes."""

    kind: Literal["stock", "linear", "low-rank"]
    classes: int
    pooling: Literal["cls", "mean"] = "mean"
    """Of no meaning for a stock head."""
    rank: int | None = None
    dropout: float | None = None

    @property
    def stock_classes(self) -> int | None:
        """Number of classes where the architecture's own head is used, else none."""
        return self.classes if self.kind == "stock" else None


class Network(nn.Module):
    """Frozen encoder in the compute dtype, adapters and head in fp32."""

    def __init__(self, encoder: Any, head: nn.Module | None, *, shape: HeadShape, machine: Machine) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.shape = shape
        self.machine = machine

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            input_ids: token numbers, [batch, length].
            attention_mask: 1 for tokens, 0 for padding, [batch, length].

        Returns:
            [batch, classes], fp32.
        """
        mixed = self.machine.dtype is not torch.float32
        with torch.autocast(self.machine.device.type, dtype=self.machine.dtype, enabled=mixed):
            output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        if self.head is None:
            logits: Tensor = output.logits.float()
            return logits
        return self.head(pool(output.last_hidden_state, attention_mask, self.shape.pooling))  # type: ignore[no-any-return]

    def trainable(self) -> dict[str, nn.Parameter]:
        """Everything that requires a gradient, by its dotted name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def adapter_tensors(self) -> dict[str, Tensor]:
        """What goes into ``adapter_model.safetensors``: contiguous CPU tensors by PEFT's names."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in adapter_state(self.encoder).items()}

    def adapter_config(self, *, base_model: str) -> str:
        """What goes into ``adapter_config.json``: PEFT's own configuration, naming ``base_model`` as its base."""
        config = self.encoder.peft_config["default"]
        config.base_model_name_or_path = base_model
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            content = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
        # PEFT shortens a long list of targets to endings such as ``dense``, which may mean more in a model that has
        # more modules; whole names mean the same everywhere.
        content["target_modules"] = sorted(self.encoder.base_model.targeted_module_names)
        content["inference_mode"] = True
        return json.dumps(content, indent=2, sort_keys=True) + "\n"

    def head_tensors(self) -> dict[str, Tensor]:
        """What goes into ``head.safetensors``; empty where PEFT saves the head."""
        if self.head is None:
            return {}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.head.state_dict().items()}


def build_network(
    files: BackboneFiles,
    machine: Machine,
    *,
    architecture: Architecture,
    planned: Sequence[PlannedMatrix],
    head: HeadShape,
    adapter_dropout: float,
    keep_dropout: bool,
) -> Network:
    """A network ready to train, freshly initialised from PyTorch's current seed; raises as `load_backbone` does."""
    stock = head.kind == "stock"
    model = load_backbone(
        files,
        machine,
        stock_head_classes=head.stock_classes,
        keep_dropout=keep_dropout,
        head_dropout=head.dropout if stock else None,
    )
    encoder = place_adapters(
        model,
        planned,
        dropout=adapter_dropout,
        prefix=architecture.prefix if stock else "",
        head_modules=architecture.head_modules if stock else (),
    )
    own_head = (
        None
        if head.kind == "stock"
        else make_head(
            head.kind, hidden=architecture.hidden, classes=head.classes, rank=head.rank, dropout=head.dropout or 0.0
        )
    )
    return Network(encoder, own_head, shape=head, machine=machine).to(machine.device)


def open_network(files: BackboneFiles, machine: Machine, *, folder: Path, head: HeadShape, hidden: int) -> Network:
    """A saved network ready to predict: nothing requires a gradient, no dropout.

    Raises:
        InputError: a file is missing or damaged, or does not fit the backbone.
    """
    model = load_backbone(files, machine, stock_head_classes=head.stock_classes, keep_dropout=False, head_dropout=None)
    encoder = open_adapters(model, folder)
    own_head = None
    if head.kind != "stock":
        own_head = make_head(head.kind, hidden=hidden, classes=head.classes, rank=head.rank, dropout=0.0)
        path = folder / "head.safetensors"
        tensors = read_tensors(path)
        require_same_shapes(tensors, own_head.state_dict(), path)
        own_head.load_state_dict(tensors)
    network = Network(encoder, own_head, shape=head, machine=machine).to(machine.device)
    return network.requires_grad_(False).eval()
