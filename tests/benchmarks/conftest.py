from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The package of measurements lies at the root of the repository and is not installed; this folder bears its name.
sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture
def apart_from_accelerate():
    """Trainer's number format and ours are one global state in Accelerate, which measuring keeps apart by processes."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield AcceleratorState._reset_state
    AcceleratorState._reset_state(reset_partial_state=True)
