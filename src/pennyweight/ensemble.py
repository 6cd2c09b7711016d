"""Several classifiers that predict as one: a folder of whole classifier folders, and how they are combined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from pennyweight.classifier import Classifier, LoadPrecision
from pennyweight.errors import InputError
from pennyweight.evaluation.metrics import log_softmax
from pennyweight.evaluation.pooling import Stacking, mixture
from pennyweight.manifest import require_unaltered
from pennyweight.manifest.ensemble import STACKING, EnsembleManifest, member_folder, read_ensemble
from pennyweight.predictor import Predictor


class Ensemble(Predictor):
    """Several predictors of the same labels, combined; its logits are log probabilities, or of several labels log odds.

    What is combined are answers to questions. Of one class per text each text is a question, and the classes are its
    answers; of several labels each label of each text is one, to be answered by no or yes.
    """

    manifest: EnsembleManifest

    def __init__(
        self, manifest: EnsembleManifest, members: Sequence[Predictor], *, stacking: Stacking | None = None
    ) -> None:
        """Put members together; `Ensemble.load` does so from a folder.

        Raises:
            InputError: a member does not know the same labels.
        """
        self.manifest = manifest
        self.members = tuple(members)
        self._stacking = stacking
        self._orders = tuple(order_of(member.labels, manifest.labels) for member in members)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        backbone: str | Path | None = None,
        device: str | None = None,
        precision: LoadPrecision | None = None,
    ) -> Self:
        """Open an ensemble's folder; arguments and errors as of `Classifier.load`, for every member."""
        path = Path(folder)
        manifest = read_ensemble(path)
        require_unaltered(path, manifest)
        stacking = _read_stacking(path, manifest) if manifest.method == "stacked" else None
        members = [
            Classifier.load(member_folder(path, place), backbone=backbone, device=device, precision=precision)
            for place in range(len(manifest.members))
        ]
        _share(members)
        return cls(manifest, members, stacking=stacking)

    @property
    def precision(self) -> str:
        """The number format of the members; of several, all of them."""
        return " and ".join(sorted({member.precision for member in self.members}))

    @property
    def computing(self) -> str:
        """Where and how the members compute, as one line for the user."""
        return "; ".join(sorted({member.computing for member in self.members}))

    def tokenise(self, texts: Sequence[str]) -> list[Any]:
        """What each member makes of the texts; InputError where one of them is none."""
        return [member.tokenise(texts) for member in self.members]

    def logits_of(self, tokens: list[Any]) -> np.ndarray:
        """The combination's log probabilities or log odds before its temperature, fp32 [texts, classes]."""
        return self.as_logits(self.combine(self.member_logs(tokens))).astype(np.float32, order="C")

    def member_logs(self, tokens: list[Any]) -> np.ndarray:
        """Each member's log probabilities at its own temperature, float64 [members, questions, answers]."""
        found = []
        for member, own, order in zip(self.members, tokens, self._orders, strict=True):
            logits = member.logits_of(own)[:, order].astype(np.float64)
            if self.decision.several:
                logits = np.stack([np.zeros(logits.size), logits.ravel()], axis=1)
            found.append(log_softmax(logits, member.decision.temperature))
        return np.asarray(np.maximum(np.stack(found), np.log(np.finfo(np.float64).tiny)))

    def combine(self, logs: np.ndarray) -> np.ndarray:
        """What the members' log probabilities, [members, questions, answers], are together: [questions, answers]."""
        if self._stacking is not None:
            return self._stacking.apply(logs)
        return mixture(logs, np.array([member.weight for member in self.manifest.members]))

    def as_logits(self, combined: np.ndarray) -> np.ndarray:
        """Log probabilities of answers, [questions, answers], as what a temperature divides: [texts, classes]."""
        if not self.decision.several:
            return combined
        return np.asarray((combined[:, 1] - combined[:, 0]).reshape(-1, len(self.labels)))


def order_of(given: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Where each of the labels ``wanted`` stands among ``given``; raises InputError where they are not the same."""
    odd = sorted(set(given) ^ set(wanted))
    if odd:
        raise InputError(
            f"ensemble: its members have different labels ({odd[0]!r} is not known to all); combine classifiers of the "
            f"same labels"
        )
    return np.array([list(given).index(label) for label in wanted])


def _read_stacking(folder: Path, manifest: EnsembleManifest) -> Stacking:
    """The coefficients of a stacked ensemble; raises InputError where they do not fit its members and labels."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / STACKING
    answers = 2 if manifest.problem == "multi-label" else len(manifest.labels)
    shapes = {"coefficients": (len(manifest.members) * answers, answers), "intercepts": (answers,)}
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged ({error}); restore it from a copy") from None
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise InputError(
            f"{path}: does not fit {len(manifest.members)} members and {len(manifest.labels)} labels; make it anew"
        )
    return Stacking(tensors["coefficients"], tensors["intercepts"])


def _share(members: Sequence[Classifier]) -> None:
    """Let members on one backbone hold once what is the same in all."""
    from pennyweight.model.sharing import share_weights

    groups = defaultdict(list)
    for member in members:
        groups[member.manifest.backbone.weights_sha256, member.computing].append(member.network)
    for networks in groups.values():
        share_weights(networks)
