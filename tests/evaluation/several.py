"""Items with several labels that many tests of the evaluation share."""

from __future__ import annotations

import numpy as np

NAMES = ("joy", "fear", "anger", "calm", "never seen")


def several(items=400, classes=5, seed=0):
    """Logits and labels of a fair classifier; the last label neither applies nor is given, some items have none."""
    generator = np.random.default_rng(seed)
    labels = generator.random((items, classes)) < np.linspace(0.5, 0.1, classes)
    labels[:, -1] = False
    labels[: items // 20] = False
    logits = generator.normal(size=(items, classes)) * 1.5 + 2.5 * labels - 1.0
    logits[:, -1] -= 50
    return logits, labels
