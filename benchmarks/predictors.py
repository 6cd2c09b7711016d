"""Ways of predicting texts with one and the same classifier: raw texts in, class numbers out."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import Share, timed
from benchmarks.items import LABELS, Items
from benchmarks.peers import quieten, sorted_batches

if TYPE_CHECKING:
    from pennyweight.classifier import LoadPrecision


class Predictor:
    """A contender that predicts; a turn is every ``step``-th test item, so that lengths are alike for all."""

    def __init__(self, items: Items, step: int) -> None:
        """Keep the test items."""
        self._items = items
        self._part = items.every(step)

    def predict(self, texts: Sequence[str]) -> list[int]:
        """Class numbers of texts, in their order."""
        raise NotImplementedError

    def turn(self) -> Share:
        """Predict the turn's items."""
        return timed(lambda: len(self.predict(self._part.texts)))

    def accuracy(self) -> float:
        """Share of all test items that are right; it warms up, too."""
        return float(np.mean(np.asarray(self.predict(self._items.texts)) == np.asarray(self._items.labels)))

    def describe(self) -> dict[str, Any]:
        """What it chose for itself."""
        return {}


class Pipeline(Predictor):
    """Transformers' ``pipeline``, in fp32 as it loads; with a batch size, on texts sorted by length."""

    def __init__(self, items: Items, step: int, folder: Path, batch_size: int | None) -> None:
        """Load."""
        import torch
        from transformers import pipeline

        super().__init__(items, step)
        quieten()
        device = 0 if torch.cuda.is_available() else -1
        self._pipe = pipeline("text-classification", model=str(folder), device=device)
        self._batch_size = batch_size

    def predict(self, texts: Sequence[str]) -> list[int]:
        """By the names that it answers with."""
        options: dict[str, Any] = {"truncation": True}
        order = list(range(len(texts)))
        if self._batch_size:
            options["batch_size"] = self._batch_size
            order.sort(key=lambda index: len(texts[index]))
        answers = self._pipe([texts[index] for index in order], **options)
        found = [0] * len(texts)
        for index, answer in zip(order, answers, strict=True):
            found[index] = LABELS.index(answer["label"])
        return found


class OnnxRuntime(Predictor):
    """ONNX Runtime's own session on texts sorted by length; providers as it chooses them.

    On CPUs small batches are the faster ones, how small depends on the machine: the fastest of a few sizes is taken.
    """

    SIZES = (1, 4, 8, 32)

    def __init__(self, items: Items, step: int, path: Path, tokenizer: Path) -> None:
        """Load, and choose the batch size on some of the items."""
        import onnxruntime  # type: ignore[import-untyped]
        import torch
        from transformers import AutoTokenizer

        super().__init__(items, step)
        quieten()
        options, providers = onnxruntime.SessionOptions(), onnxruntime.get_available_providers()
        if torch.get_num_threads() != os.cpu_count():  # what the other contenders obey, it does not know
            options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        sample = items.every(max(1, len(items) // 128))
        self._rates = {size: self._rate(sample, size) for size in self.SIZES}
        self._batch_size = max(self._rates, key=lambda size: self._rates[size])

    def _rate(self, sample: Items, size: int) -> float:
        """Median of three examples per second, after one to warm up."""
        shares = [timed(lambda: len(self._predict(sample.texts, size))) for _ in range(4)]
        return statistics.median(share.work / share.seconds for share in shares[1:])

    def predict(self, texts: Sequence[str]) -> list[int]:
        """By the largest logit."""
        return self._predict(texts, self._batch_size)

    def _predict(self, texts: Sequence[str], size: int) -> list[int]:
        found = np.zeros(len(texts), dtype=np.int64)
        for indices in sorted_batches(texts, size):
            batch = self._tokenizer([texts[i] for i in indices], truncation=True, padding=True, return_tensors="np")
            inputs = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
            found[indices] = self._session.run(None, inputs)[0].argmax(axis=1)
        return [int(index) for index in found]

    def describe(self) -> dict[str, Any]:
        """The batch sizes that were tried, and the fastest."""
        return {"batch_size": self._batch_size, "examples_per_second_by_batch_size": self._rates}


class Pennyweight(Predictor):
    """`pennyweight.Classifier`."""

    def __init__(self, items: Items, step: int, folder: Path, precision: LoadPrecision) -> None:
        """Load."""
        from pennyweight import Classifier

        super().__init__(items, step)
        self._classifier = Classifier.load(folder, precision=precision)

    def predict(self, texts: Sequence[str]) -> list[int]:
        """By the names that it answers with."""
        return [LABELS.index(label) for label in self._classifier.predict(texts)]

    def describe(self) -> dict[str, Any]:
        """The number format that it computes in."""
        return {"precision": self._classifier.precision}
