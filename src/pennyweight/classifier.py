"""The artifact: a folder that predicts by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from pennyweight.card import model_card
from pennyweight.data.augmentation import Augmenter, Synonyms, no_synonyms
from pennyweight.data.batches import TokenTable, tokenise
from pennyweight.data.cleaning import clean
from pennyweight.errors import InputError, require_one_of
from pennyweight.evaluation.averaging import average_copies
from pennyweight.files import write_bytes, write_text
from pennyweight.manifest import (
    ADAPTER_CONFIG,
    ADAPTERS,
    HEAD,
    BackboneRecord,
    Manifest,
    file_digest,
    read_manifest,
    require_unaltered,
    weight_files,
    write_manifest,
)
from pennyweight.manifest_copies import CopiesRecord
from pennyweight.predictor import Predictor, checked_texts

if TYPE_CHECKING:
    from pennyweight.model.backbone import BackboneFiles
    from pennyweight.model.device import Machine
    from pennyweight.model.network import Network
    from pennyweight.model.saving import SavedAdapter

LoadPrecision = Literal["auto", "fp32", "bf16", "int8", "nf4"]


class Classifier(Predictor):
    """A trained text classifier: frozen backbone, adapters, head, labels and temperature."""

    manifest: Manifest

    def __init__(
        self, manifest: Manifest, network: Network, tokenizer: Any, *, files: BackboneFiles | None = None
    ) -> None:
        """Put the parts together; `Classifier.load` does so from a folder.

        Args:
            manifest: how texts become tokens, and what the classes are.
            network: what computes.
            tokenizer: of the network's backbone.
            files: its backbone's, in which altered copies of a text find synonyms; none: they find none.
        """
        self.manifest = manifest
        self._network = network
        self._tokenizer = tokenizer
        self._synonyms = no_synonyms if files is None else _synonyms_for(manifest, files)
        self.files = files

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        backbone: str | Path | None = None,
        device: str | None = None,
        precision: LoadPrecision | None = None,
    ) -> Self:
        """Open a classifier folder to predict with: the adapters are folded into the backbone's matrices.

        Args:
            folder: what ``pennyweight train --out`` wrote.
            backbone: folder or Hub id where the backbone now lives, if not where it was at training.
            device: ``cpu``, ``cuda`` …; none: the accelerator where there is one, but for int8, which runs on CPUs.
            precision: number format to compute in; none: as in training; ``auto``: bf16 where this machine is fast at
                it; ``int8``: the encoder's matrices in int8, their inputs quantised on the way, the rest as ``auto``;
                ``nf4``: they are kept in 4 bits, which saves memory and no time.

        Raises:
            InputError: no such precision, not a classifier folder, a newer format, damaged or altered weights, a
                backbone whose width or digest is not that of training, a device that this machine does not have, or one
                without fast int8.
            RunError: the Hub cannot be reached.
        """
        from pennyweight.model.backbone import find_backbone, load_tokenizer
        from pennyweight.model.device import named_device
        from pennyweight.model.quantising import require_int8

        path = Path(folder)
        if precision is not None:
            require_one_of("precision", precision, get_args(LoadPrecision))
        if device is None and precision == "int8":
            device = "cpu"
        chosen = None if device is None else named_device(device)
        if chosen is not None and precision == "int8":
            require_int8(chosen)
        manifest = read_manifest(path)
        require_unaltered(path, manifest)
        record = manifest.backbone
        files = find_backbone(str(backbone or record.name), revision=record.revision if backbone is None else None)
        _require_same_backbone(files, manifest, path)
        network = _open_folded(path, manifest, files, _machine(record, precision, chosen), int8=precision == "int8")
        tokenizer = load_tokenizer(files, add_prefix_space=manifest.text.add_prefix_space)
        return cls(manifest, network, tokenizer, files=files)

    @property
    def precision(self) -> Literal["fp32", "bf16", "int8", "nf4"]:
        """The number format that the encoder's matrices are computed in, on this machine."""
        import torch

        from pennyweight.model.quantising import is_quantised

        if is_quantised(self._network):
            return "int8"
        if self.machine.four_bits:
            return "nf4"
        return "fp32" if self.machine.dtype is torch.float32 else "bf16"

    @property
    def computing(self) -> str:
        """Where and how it computes, as one line for the user."""
        return self.machine.line()

    @property
    def machine(self) -> Machine:
        """Where and how this classifier computes."""
        return self._network.machine

    @property
    def network(self) -> Network:
        """What computes."""
        return self._network

    @property
    def tokenizer(self) -> Any:
        """The backbone's own tokenizer, of Transformers."""
        return self._tokenizer

    def tokenise(self, texts: Sequence[str]) -> TokenTable:
        """Clean and tokenise texts, the first half of `logits`; InputError where one of the texts is none."""
        text = self.manifest.text
        cleaned = [clean(one, text.cleaning, language=text.language) for one in checked_texts(texts)]
        count, overlap = (1, 0) if text.windows is None else (text.windows.count, text.windows.overlap)
        readings = self._with_copies(cleaned)
        return tokenise(readings, self._tokenizer, max_length=text.max_length, windows=count, overlap=overlap)

    def logits_of(self, table: TokenTable) -> np.ndarray:
        """Compute the second half of `logits`, from what `tokenise` made; fp32 [texts, classes]."""
        from pennyweight.model.inference import compute_logits

        pad_id = self._tokenizer.pad_token_id
        logits = compute_logits(self._network, table, batch_size=self.manifest.batch_size, pad_id=pad_id)
        return average_copies(logits, self.copies, several=self.decision.several)

    @property
    def copies(self) -> int:
        """Altered copies of a text over which its probabilities are averaged, with its own."""
        return 0 if self.manifest.copies is None else self.manifest.copies.count

    def with_copies(self, count: int) -> Self:
        """The same, averaging over ``count`` altered copies of each text; 0: none.

        They are made as at training, or by swapping and leaving out words where there were none at training. The
        temperature stays that of training.
        """
        record = self.manifest.copies or CopiesRecord(count=1)
        copies = record.model_copy(update={"count": count}) if count else None
        manifest = self.manifest.model_copy(update={"copies": copies})
        return type(self)(manifest, self._network, self._tokenizer, files=self.files)

    def _with_copies(self, cleaned: list[str]) -> list[str]:
        """Each text, its copies right behind it: a pure function of the text."""
        record = self.manifest.copies
        if record is None:
            return cleaned
        augmenter = Augmenter(record.operations, record.strength, self._synonyms)
        return [one for text in cleaned for one in (text, *augmenter.copies(text, record.count, seed=""))]


def _synonyms_for(manifest: Manifest, files: BackboneFiles) -> Synonyms:
    """Where a classifier's altered copies take synonyms from, where they do; raises as `open_neighbours` does."""
    if manifest.copies is None or "synonyms" not in manifest.copies.operations:
        return no_synonyms
    from pennyweight.model.neighbours import open_neighbours

    return open_neighbours(files, add_prefix_space=manifest.text.add_prefix_space)


def _machine(record: BackboneRecord, precision: LoadPrecision | None, device: Any) -> Machine:
    """Where and how to predict."""
    from pennyweight.model.attention import has_fused_attention
    from pennyweight.model.device import choose_machine, has_matrix_unit
    from pennyweight.model.stack import FAMILY

    fusable = has_fused_attention(record.model_type)
    machine = choose_machine(
        precision="auto" if precision == "int8" else precision or record.precision,
        attention=record.attention if fusable else "auto",
        device=device,
        packable=record.model_type in FAMILY,
        fusable=fusable,
    )
    if record.attention == "auto" and machine.attention == "plain" and has_matrix_unit():
        return replace(machine, attention="sdpa")  # its kernel uses that unit, though not in its backward pass
    return machine


def _open_folded(folder: Path, manifest: Manifest, files: BackboneFiles, machine: Machine, *, int8: bool) -> Network:
    """The network of a folder, for prediction alone; raises as `open_network` does."""
    from pennyweight.model.folding import fold
    from pennyweight.model.network import HeadShape, open_network
    from pennyweight.model.quantising import quantise

    windows = manifest.text.windows
    head = HeadShape(
        kind=manifest.head.kind,
        classes=len(manifest.labels),
        pooling=manifest.head.pooling or "mean",
        rank=manifest.head.rank,
        windows=None if windows is None else windows.pooling,
    )
    hidden, kind = manifest.backbone.hidden_size, manifest.adapters.kind
    if machine.four_bits and kind != "lora":
        raise InputError(f"{folder}: adapters of kind {kind} do not go with nf4: choose another --precision")
    folded = fold(open_network(files, machine, folder=folder, head=head, hidden=hidden, kind=kind))
    return quantise(folded) if int8 else folded


def _require_same_backbone(files: BackboneFiles, manifest: Manifest, folder: Path) -> None:
    record = manifest.backbone
    if files.hidden_size != record.hidden_size:
        raise InputError(
            f"{folder}: trained on {record.name} of width {record.hidden_size}, but backbone {files.name} has width "
            f"{files.hidden_size}; give the backbone it was trained on"
        )
    if files.digest != record.weights_sha256:
        raise InputError(
            f"{folder}: wrong weights digest: backbone {files.name} has SHA-256 {files.digest}, the classifier was "
            f"trained on {record.weights_sha256}; give the backbone it was trained on"
        )
    # Folders of before the settings counted hold the digest of the vocabulary, and none written since does.
    if record.tokenizer_sha256 not in (files.tokenizer_digest, files.vocabulary_digest):
        raise InputError(
            f"{folder}: the tokenizer of backbone {files.name} is not the one the classifier was trained with"
        )


def save_classifier(folder: Path, network: Network, manifest: Manifest) -> Manifest:
    """Write a classifier folder; ``classifier.json`` comes last, so that a folder without it is not a classifier.

    Args:
        folder: where to; made if need be.
        network: the trained network.
        manifest: what to record; its ``files`` are filled in here.

    Returns:
        The manifest as written.

    Raises:
        RunError: a file cannot be written.
    """
    base = manifest.backbone.hub_id or manifest.backbone.name
    adapters = {"": network.adapter(base_model=base)}
    if manifest.adapters.second is not None:
        second = network.second_adapter(base_model=base)
        assert second is not None
        adapters[manifest.adapters.second] = second
    return save_parts(folder, manifest, adapters=adapters, head=network.head_tensors())


def save_parts(
    folder: Path, manifest: Manifest, *, adapters: Mapping[str, SavedAdapter], head: Mapping[str, Any]
) -> Manifest:
    """As `save_classifier`, from tensors.

    Args:
        folder: where to; made if need be.
        manifest: what to record; its ``files`` are filled in here.
        adapters: the adapter, a stock head with it, under ``""``, and a second one by the name of its own folder.
        head: tensors of what PEFT does not save: a head that is not the architecture's own, windows' weights.
    """
    from safetensors.torch import save

    metadata = {"format": "pt"}
    for place, adapter in adapters.items():
        write_bytes(folder / place / ADAPTERS, save(dict(adapter.tensors), metadata=metadata))
        write_text(folder / place / ADAPTER_CONFIG, adapter.config)
    if head:
        write_bytes(folder / HEAD, save(dict(head), metadata=metadata))
    files = {name: file_digest(folder / name) for name in weight_files(manifest)}
    complete = manifest.model_copy(update={"files": files})
    write_text(folder / "README.md", model_card(complete))
    write_manifest(folder, complete)
    return complete
