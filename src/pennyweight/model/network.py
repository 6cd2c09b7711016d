"""The whole network: frozen encoder, adapters, head. Token batches in, fp32 logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.shapes import Architecture
from pennyweight.errors import InputError
from pennyweight.model.adapters import open_adapters, place_adapters, read_tensors, require_same_shapes
from pennyweight.model.backbone import BackboneFiles, load_backbone
from pennyweight.model.device import Machine
from pennyweight.model.heads import HeadShape, make_head
from pennyweight.model.kinds import AdapterOptions, Place
from pennyweight.model.layout import Layout, Padded, pack
from pennyweight.model.prepacking import prepack
from pennyweight.model.saving import SavedAdapter, first_adapter, second_adapter
from pennyweight.model.stack import FAMILY, Stack, cut_open
from pennyweight.model.windows import WindowPooling

__all__ = ["HeadShape", "Network", "build_network", "open_network"]


class Network(nn.Module):
    """Frozen encoder in the compute dtype; adapters, the pooling of windows and the head in fp32."""

    def __init__(
        self,
        encoder: Any,
        head: nn.Module | None,
        *,
        shape: HeadShape,
        machine: Machine,
        windows: WindowPooling | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.windows = windows
        self.head = head
        self.shape = shape
        self.machine = machine
        self.stack = cut_open(encoder)
        """The encoder layer by layer; none where its architecture is not known that well."""
        self.frozen_layers = 0 if self.stack is None else self.stack.lowest_trained()
        """Layers below the lowest trained one, as it was built."""

    def forward(
        self,
        attention_mask: Tensor,
        input_ids: Tensor | None = None,
        prefix: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Tensor:
        """Logits of a batch, of its tokens or of what the frozen layers below the adapters made of them.

        Args:
            attention_mask: 1 for tokens, 0 for padding, [rows, length]; a text is one row, or several windows.
            input_ids: token numbers, [rows, length].
            prefix: instead of these, the input of the lowest trained layer, [rows, length, hidden].
            starts: number of each text's first row, and the end of the last, int64 [batch + 1]; none: every text is
                one row.

        Returns:
            [batch, classes], fp32.
        """
        if self.stack is None and self.head is None:
            assert input_ids is not None
            return self._whole(input_ids, attention_mask).logits.float()  # type: ignore[no-any-return]
        return self.classify(self.features(attention_mask, input_ids, prefix, starts))

    def features(
        self,
        attention_mask: Tensor,
        input_ids: Tensor | None = None,
        prefix: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Tensor:
        """The vector that stands for each text, before the head: fp32 [batch, hidden]; arguments as of `forward`.

        Raises:
            InputError: a stock head, of an architecture that is not cut open, pools by itself.
        """
        vectors = self._row_vectors(attention_mask, input_ids, prefix)
        if self.windows is not None:
            return self.windows(vectors, starts)  # type: ignore[no-any-return]
        if starts is not None:
            raise ValueError("texts of several windows need a network that pools windows")
        return vectors

    def _row_vectors(self, attention_mask: Tensor, input_ids: Tensor | None, prefix: Tensor | None) -> Tensor:
        """The vector that stands for each row, fp32 [rows, hidden]; raises as `features` does."""
        if self.stack is None:
            if self.head is None:
                kind = self.encoder.get_base_model().config.model_type
                raise InputError(f"head.kind = 'stock' of a {kind} pools by itself; take head.kind = 'linear'")
            assert input_ids is not None
            whole: Tensor = self._whole(input_ids, attention_mask).last_hidden_state
            return whole[:, 0].float() if self.shape.pooling == "cls" else Padded(attention_mask).mean(whole)
        first = 0 if prefix is None else self.frozen_layers
        hidden, layout = self._begin(self.stack, attention_mask, input_ids, prefix)
        if self.head is None or self.shape.pooling == "cls":
            return self.stack.run(hidden, layout, first=first, first_tokens=True)[:, 0].float()
        return layout.mean(self.stack.run(hidden, layout, first=first))

    def classify(self, features: Tensor) -> Tensor:
        """Logits of what `features` returned, fp32 [batch, classes]."""
        if self.head is not None:
            return self.head(features)  # type: ignore[no-any-return]
        assert self.stack is not None
        return self.stack.stock_logits(features[:, None])

    def prefix(self, attention_mask: Tensor, input_ids: Tensor) -> Tensor:
        """What the layers below the lowest trained one make of a batch, in the compute format.

        Args:
            attention_mask: 1 for tokens, 0 for padding, [batch, length].
            input_ids: token numbers, [batch, length].

        Returns:
            [batch, length, hidden]; behind a text's end without meaning.
        """
        assert self.stack is not None
        hidden, layout = self._begin(self.stack, attention_mask, input_ids, None)
        hidden = self.stack.run(hidden, layout, last=self.frozen_layers)
        if isinstance(layout, Padded):
            return hidden
        padded = hidden.new_zeros(*input_ids.shape, hidden.shape[-1])
        padded[attention_mask.bool()] = hidden[0]
        return padded

    def _begin(
        self, stack: Stack, attention_mask: Tensor, input_ids: Tensor | None, prefix: Tensor | None
    ) -> tuple[Tensor, Layout]:
        """The first hidden states and how they lie."""
        packed = self.machine.attention == "packed"
        if prefix is not None:
            if not packed:
                return prefix, Padded(attention_mask)
            hidden, _, layout = pack(prefix, attention_mask)
            return hidden, layout
        assert input_ids is not None
        if stack.prompt_length:
            return self._begin_prompted(stack, attention_mask, input_ids)
        if not packed:
            return stack.embed(input_ids), Padded(attention_mask)
        ids, places, layout = pack(input_ids, attention_mask)
        return stack.embed(ids, places), layout

    def _begin_prompted(self, stack: Stack, attention_mask: Tensor, input_ids: Tensor) -> tuple[Tensor, Layout]:
        """The same where a prompt stands before every text; pooling leaves it out, but for a stock head, as in PEFT."""
        length = stack.prompt_length
        seen = functional.pad(attention_mask, (length, 0), value=1)
        hidden, lead = stack.embed_prompted(input_ids), 0 if self.head is None else length
        if self.machine.attention != "packed":
            return hidden, Padded(seen, lead)
        hidden, _, layout = pack(hidden, seen)
        return hidden, replace(layout, lead=lead)

    def _whole(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """What the architecture's own forward pass returns."""
        mixed = self.machine.dtype is not torch.float32
        with torch.autocast(self.machine.device.type, dtype=self.machine.dtype, enabled=mixed):
            return self.encoder(input_ids=input_ids, attention_mask=attention_mask)

    @property
    def prompt_length(self) -> int:
        """Vectors that stand before every text."""
        return 0 if self.stack is None else self.stack.prompt_length

    def trainable(self) -> dict[str, nn.Parameter]:
        """Everything that requires a gradient, by its dotted name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def checkpoint_gradients(self) -> None:
        """Keep only each layer's input for the backward pass and compute the rest again (Chen et al. 2016, 1604.06174).

        Raises:
            InputError: the architecture knows no such thing.
        """
        model = self.encoder.get_base_model()
        if not model.supports_gradient_checkpointing:
            raise InputError(f"training.gradient_checkpointing: {model.config.model_type} has none; leave it out")
        # Transformers has renamed it; the old name warns.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    def adapter(self, *, base_model: str) -> SavedAdapter:
        """What PEFT's two files hold: adapters with a stock head, and their configuration for ``base_model``."""
        return first_adapter(self.encoder, base_model=base_model)

    def second_adapter(self, *, base_model: str) -> SavedAdapter | None:
        """The same of the second of two kinds; none where there is one."""
        return second_adapter(self.encoder, base_model=base_model)

    def head_tensors(self) -> dict[str, Tensor]:
        """What goes into ``head.safetensors``: what is trained beside what PEFT saves; may be empty."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self._beside_peft().items()}

    def open_head(self, path: Path) -> None:
        """Read what `head_tensors` gave, where that is anything, from a file.

        Raises:
            InputError: the file is missing or damaged, or is not of a network such as this.
        """
        own = self._beside_peft()
        if not own:
            return
        tensors = read_tensors(path)
        require_same_shapes(tensors, own, path)
        for name, tensor in own.items():
            tensor.copy_(tensors[name])

    def _beside_peft(self) -> dict[str, Tensor]:
        """The head's tensors by their own names, those of the pooling of windows behind ``windows.``; not copies."""
        head = {} if self.head is None else self.head.state_dict()
        windows = {} if self.windows is None else self.windows.state_dict(prefix="windows.")
        return {**head, **windows}


def build_network(
    files: BackboneFiles,
    machine: Machine,
    *,
    architecture: Architecture,
    planned: Sequence[PlannedMatrix],
    head: HeadShape,
    adapters: AdapterOptions,
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
    place = Place(architecture.prefix, architecture.head_modules) if stock else Place()
    encoder = place_adapters(model, planned, place=place, options=adapters)
    prepack(encoder)
    own_head = (
        None
        if head.kind == "stock"
        else make_head(
            head.kind, hidden=architecture.hidden, classes=head.classes, rank=head.rank, dropout=head.dropout or 0.0
        )
    )
    windows = _window_pooling(head, model)
    if windows is not None and stock and architecture.model_type not in FAMILY:
        raise InputError(
            f"windows.count: the stock head of a {architecture.model_type} pools by itself; take head.kind = 'linear'"
        )
    return Network(encoder, own_head, shape=head, machine=machine, windows=windows).to(machine.device)


def _window_pooling(head: HeadShape, model: Any) -> WindowPooling | None:
    return None if head.windows is None else WindowPooling(head.windows, hidden=model.config.hidden_size)


def open_network(
    files: BackboneFiles, machine: Machine, *, folder: Path, head: HeadShape, hidden: int, kind: str = "lora"
) -> Network:
    """A saved network ready to predict: nothing requires a gradient, no dropout; ``kind`` as of `open_adapters`.

    Raises:
        InputError: a file is missing or damaged, or does not fit the backbone.
    """
    model = load_backbone(files, machine, stock_head_classes=head.stock_classes, keep_dropout=False, head_dropout=None)
    encoder = open_adapters(model, folder, kind=kind)
    own_head = None
    if head.kind != "stock":
        own_head = make_head(head.kind, hidden=hidden, classes=head.classes, rank=head.rank, dropout=0.0)
    network = Network(encoder, own_head, shape=head, machine=machine, windows=_window_pooling(head, model))
    network.requires_grad_(False).open_head(folder / "head.safetensors")
    return network.to(machine.device).eval()
