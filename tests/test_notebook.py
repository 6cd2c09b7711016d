"""The notebook of the documentation runs from its first cell to its last, on the starter set."""

from __future__ import annotations

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_outputs_are_stripped(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_runs_and_learns(notebook, minilm, tmp_path):
    """Executed as a reader would; a further cell hands out what the last ones found."""
    asked = nbformat.v4.new_code_cell(
        "import json\n"
        "print(json.dumps({'trainable': plan.trainable, 'built': classifier.manifest.plan['trainable'],"
        " 'examples': metrics.examples, 'low': metrics.accuracy.low, 'predicted': predicted, 'refusal': refusal,"
        " 'sums': probabilities.sum(axis=1).tolist(), 'report': outcome.judgement.report.is_file()}))"
    )
    run = nbformat.from_dict({**notebook, "cells": [*notebook.cells, asked]})
    nbclient.NotebookClient(
        run, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    found = nbformat.from_dict(json.loads(run.cells[-1].outputs[-1].text))
    assert found.trainable == found.built == 75_268
    assert found.examples == 120
    assert found.low > 0.5  # four classes: chance is 0.25
    assert found.predicted == ["Sports", "Business", "Sci/Tech"]
    assert found.sums == pytest.approx([1.0, 1.0, 1.0])
    assert "333,316" in found.refusal
    assert found.report
    assert not (tmp_path / "too-heavy").exists()
