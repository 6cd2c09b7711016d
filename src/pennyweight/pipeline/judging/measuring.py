"""Measures what int8 costs a classifier on labelled data, and keeps the answer with it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pennyweight.classifier import Classifier
from pennyweight.data.examples import Schema
from pennyweight.errors import InputError
from pennyweight.manifest import Int8Record, record_int8
from pennyweight.pipeline.judging.judgement import evaluate_source


def measure_int8(
    folder: Path, source: str, *, reference: Classifier, backbone: str | None = None, schema: Schema | None = None
) -> Int8Record:
    """Compare int8 with the number format of ``reference`` and write the result into ``folder/classifier.json``.

    Args:
        folder: the classifier's folder.
        source: labelled data: ``starter``, ``hub:<id>[:config]`` or a file; of a source with splits, the test split.
        reference: the same classifier, opened in the number format to compare with.
        backbone: where the backbone now lives, if not where it was at training.
        schema: columns and labels; none: those of training.

    Raises:
        InputError: as `Classifier.load` and `evaluate_source`, or the folder cannot be written to.
        RunError: ``classifier.json`` cannot be written.
    """
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written to, so the answer could not be kept; copy the classifier first")
    own = reference.precision
    assert own != "int8"
    int8 = Classifier.load(folder, backbone=backbone, precision="int8")
    judgement = evaluate_source(int8, source, schema=schema, reference=reference, resamples=100)
    assert judgement.compared is not None
    agreement = judgement.compared.agreement
    record = Int8Record(
        data=source,
        reference=own,
        library="torch",
        version=torch.__version__,
        **agreement.as_dict(),
    )
    record_int8(folder, record)
    return record
