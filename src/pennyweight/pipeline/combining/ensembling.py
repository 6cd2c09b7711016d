"""Makes an ensemble's folder out of classifiers' folders, fitted to labelled data where they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.classifier import Classifier
from pennyweight.data.examples import Schema, truth_of
from pennyweight.data.windows import windows
from pennyweight.ensemble import Ensemble, order_of
from pennyweight.environment import git_state, versions
from pennyweight.errors import InputError
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.evaluation.decisions import tune_thresholds
from pennyweight.evaluation.metrics import check_logits, log_softmax
from pennyweight.evaluation.pooling import Stacking, fit_stacking, fit_weights
from pennyweight.files import write_bytes, write_text
from pennyweight.manifest import (
    MANIFEST,
    Manifest,
    file_digest,
    read_manifest,
    require_unaltered,
    write_manifest,
)
from pennyweight.manifest.ensemble import STACKING, EnsembleManifest, FittedRecord, MemberRecord, Method, member_folder
from pennyweight.pipeline.folder import check_folder
from pennyweight.pipeline.preparation import schema_of_card, stream_source
from pennyweight.predictor import WINDOW


@dataclass(frozen=True)
class Combined:
    """A finished ensemble."""

    folder: Path
    manifest: EnsembleManifest

    def as_dict(self) -> dict[str, Any]:
        """What ``ensemble --json`` prints."""
        manifest = self.manifest
        return {
            "folder": str(self.folder),
            "method": manifest.method,
            "labels": list(manifest.labels),
            "members": [{"name": member.name, "weight": member.weight} for member in manifest.members],
            "temperature": manifest.temperature,
            "fitted": manifest.fitted.model_dump() if manifest.fitted else None,
        }


def make_ensemble(
    folders: Sequence[Path],
    out: Path,
    *,
    method: Method = "mean",
    data: str | None = None,
    schema: Schema | None = None,
    backbone: str | None = None,
) -> Combined:
    """Combine classifiers into the ensemble's folder ``out``; each member is copied into it, without its report.

    Args:
        folders: the classifiers, in the order of the members; the first one's labels and columns are the ensemble's.
        out: new or empty folder.
        method: ``mean`` of probabilities, ``weighted`` mean, or ``stacked`` logistic regression.
        data: labelled items that no member has learnt from, which weights, coefficients, temperature and, of several
            labels, thresholds are fitted to. Without them thresholds are the mean of the members'.
        schema: columns and labels of these data; none: those of the first member.
        backbone: where the members' backbone now lives, if not where it was at training.

    Raises:
        InputError: no classifiers, labels that are not the same, data missing or unusable, or ``out`` not empty.
        RunError: a file cannot be written.
    """
    check_folder(out, resume=False)
    manifests = _read_members(folders)
    if method != "mean" and data is None:
        raise InputError(f"ensemble --method {method}: is fitted to labelled data; give --data, or take mean")
    record = _draft(folders, manifests, method=method)
    if data is None:
        return _write(record, folders, out, stacking=None)
    members = [Classifier.load(folder, backbone=backbone) for folder in folders]
    logs, truth = _logs(Ensemble(record, members), data, schema or schema_of_card(record))
    record, stacking = _fitted(record, members, logs, truth, data=data)
    return _write(record, folders, out, stacking=stacking)


def _read_members(folders: Sequence[Path]) -> list[Manifest]:
    """The members' manifests, proven to go together and their weights to be those that were saved."""
    if not folders:
        raise InputError("ensemble: give the classifiers to be combined")
    manifests = []
    for folder in folders:
        manifest = read_manifest(folder)
        require_unaltered(folder, manifest)
        manifests.append(manifest)
    for manifest in manifests:
        order_of(manifest.labels, manifests[0].labels)
        if manifest.problem != manifests[0].problem:
            raise InputError("ensemble: some members give a text one class and others several labels; take one kind")
    return manifests


def _draft(folders: Sequence[Path], manifests: Sequence[Manifest], *, method: Method) -> EnsembleManifest:
    """The manifest of an even mean; what is fitted comes later."""
    first, even = manifests[0], 1 / len(manifests)
    members = tuple(
        MemberRecord(name=folder.resolve().name, sha256=file_digest(folder / MANIFEST), weight=even)
        for folder in folders
    )
    thresholds = [np.array(one.thresholds)[order_of(one.labels, first.labels)] for one in manifests if one.thresholds]
    return EnsembleManifest(
        labels=first.labels,
        problem=first.problem,
        thresholds=tuple(np.mean(thresholds, axis=0).tolist()) if thresholds else None,
        text=first.text,
        temperature=1.0,
        files={},
        plan=_sum_of_plans(manifests),
        metrics={},
        recipe={},
        environment={"versions": versions(), "git": git_state()},
        method=method,
        members=members,
        fitted=None,
    )


def _sum_of_plans(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """The members' plans added up, as far as that means something."""
    plans = [manifest.plan for manifest in manifests]
    names = dict.fromkeys(name for plan in plans for name in plan["groups"])
    groups = {name: sum(plan["groups"].get(name, 0) for plan in plans) for name in names}
    return {
        "backbone": " and ".join(dict.fromkeys(plan["backbone"] for plan in plans)),
        "trainable": sum(plan["trainable"] for plan in plans),
        "budget": sum(plan["budget"] for plan in plans),
        "within_budget": all(plan["within_budget"] for plan in plans),
        "groups": groups,
        "adapter_bytes": sum(plan["adapter_bytes"] for plan in plans),
        "modules": [],
    }


def _logs(ensemble: Ensemble, data: str, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Each member's log probabilities of labelled items, [members, questions, answers], and the items' labels."""
    logs, labels = [], []
    for window in windows(stream_source(data, schema, skipped=[]), WINDOW):
        truth = truth_of(window, len(ensemble.labels), several=ensemble.decision.several)
        found = ensemble.member_logs(ensemble.tokenise([example.text for example in window]))
        for member in found:
            check_logits(member, _answers(truth))
        logs.append(found)
        labels.append(truth)
    if not labels:
        raise InputError(f"--data {data}: holds no labelled item to fit the ensemble to")
    return np.concatenate(logs, axis=1), np.concatenate(labels)


def _answers(truth: np.ndarray) -> np.ndarray:
    """The right answer to each question: a class index, or 1 where a label of a text applies, int [questions]."""
    return truth.ravel().astype(np.int64)


def _fitted(
    record: EnsembleManifest, members: Sequence[Classifier], logs: np.ndarray, truth: np.ndarray, *, data: str
) -> tuple[EnsembleManifest, Stacking | None]:
    """The manifest with weights or coefficients, temperature, thresholds, and what they were fitted to."""
    stacking, answers = None, _answers(truth)
    if record.method == "weighted":
        weights = fit_weights(logs, answers)
        named = zip(record.members, weights.tolist(), strict=True)
        record = record.model_copy(
            update={"members": tuple(member.model_copy(update={"weight": weight}) for member, weight in named)}
        )
    elif record.method == "stacked":
        stacking = fit_stacking(logs, answers)
    ensemble = Ensemble(record, members, stacking=stacking)
    combined = ensemble.combine(logs)
    temperature, questions = fit_temperature(combined, answers), np.arange(len(answers))
    fitted = FittedRecord(
        data=data,
        examples=len(truth),
        log_loss=-float(log_softmax(combined, temperature)[questions, answers].mean()),
        member_log_loss=tuple(-float(own[questions, answers].mean()) for own in logs),
    )
    update: dict[str, Any] = {"temperature": temperature, "fitted": fitted}
    if ensemble.decision.several:
        decision = replace(ensemble.decision, temperature=temperature)
        update["thresholds"] = tune_thresholds(decision.probabilities(ensemble.as_logits(combined)), truth)
    return record.model_copy(update=update), stacking


def _write(record: EnsembleManifest, folders: Sequence[Path], out: Path, *, stacking: Stacking | None) -> Combined:
    """Copy the members and write what combines them; ``classifier.json`` comes last."""
    for place, folder in enumerate(folders):
        target = member_folder(out, place)
        for name in (*read_manifest(folder).files, "README.md", MANIFEST):
            if (folder / name).is_file():
                write_bytes(target / name, (folder / name).read_bytes())
    if stacking is not None:
        from safetensors.numpy import save

        tensors = {"coefficients": np.ascontiguousarray(stacking.coefficients), "intercepts": stacking.intercepts}
        write_bytes(out / STACKING, save(tensors))
        record = record.model_copy(update={"files": {STACKING: file_digest(out / STACKING)}})
    write_text(out / "README.md", _card(record))
    write_manifest(out, record)
    return Combined(out, record)


def _card(record: EnsembleManifest) -> str:
    """The README.md of an ensemble."""
    means = {
        "mean": "mean of their probabilities",
        "weighted": "weighted mean of their probabilities",
        "stacked": "logistic regression on their log probabilities",
    }
    lines = [
        "# Several text classifiers as one",
        "",
        f"Made with Pennyweight {record.environment['versions']['pennyweight']}: the {means[record.method]}. "
        f"Labels: {', '.join(record.labels)}.",
        "",
        *(f"- `members/{place}`: {member.name}" for place, member in enumerate(record.members)),
        "",
        "```python",
        "import pennyweight",
        "",
        'pennyweight.load("this-folder").predict(["A text to classify."])',
        "```",
    ]
    return "\n".join(lines) + "\n"
