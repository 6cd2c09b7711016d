from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pennyweight.console import Speaker
from pennyweight.errors import Interrupted
from pennyweight.pipeline import keeping
from pennyweight.pipeline.keeping import in_parts, kept, read_arrays, write_arrays


class Listening(Speaker):
    """Keeps what its bars were told."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.told: list[tuple[str, int, int]] = []

    def bar(self, what, total):
        made = super().bar(what, total)
        made.update = lambda done, note: self.told.append((what, done, total))
        return made


def test_parts_are_put_together_in_order(monkeypatch):
    monkeypatch.setattr(keeping, "_PART", 4)
    items, sizes, speaker = np.arange(10)[::-1], [], Listening()

    def squares(part: np.ndarray) -> np.ndarray:
        sizes.append(len(part))
        return np.stack([part, part**2], axis=1)

    found = in_parts(squares, items, speaker=speaker, what="squaring")
    assert (found == np.stack([items, items**2], axis=1)).all()
    assert sizes == [4, 4, 2]
    assert speaker.told == [("squaring", done, 10) for done in (4, 8, 10)]


def test_work_stops_between_two_parts(monkeypatch):
    monkeypatch.setattr(keeping, "_PART", 4)
    seen: list[np.ndarray] = []

    def go_on() -> None:
        if seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_parts(lambda part: seen.append(part) or part, np.arange(10), speaker=Listening(), what="", go_on=go_on)
    assert len(seen) == 1


def test_arrays_come_back_as_they_went(tmp_path):
    arrays = {"logits": np.arange(6, dtype=np.float32).reshape(2, 3).T, "rows": np.array([3, 1], dtype=np.int32)}
    write_arrays(tmp_path / "arrays.safetensors", arrays)
    back = read_arrays(tmp_path / "arrays.safetensors")
    assert back.keys() == arrays.keys()
    for name, one in arrays.items():
        assert back[name].dtype == one.dtype
        assert (back[name] == one).all()


class OfTwo:
    """An accelerator of one of two processes; the other has been asked to stop, or has not."""

    num_processes = 2
    device = "cpu"

    def __init__(self, *, first: bool, other_stops: bool = False) -> None:
        self.is_main_process = first
        self.other_stops = other_stops
        self.write: Callable[[], None] = lambda: None

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        return tensor + float(self.other_stops)

    def wait_for_everyone(self) -> None:
        self.write()


@pytest.mark.parametrize(
    ("first", "shared", "computes"), [(True, False, True), (False, False, False), (False, True, True)]
)
def test_all_compute_what_is_shared_and_the_first_writes(first, shared, computes, tmp_path):
    path, asked = tmp_path / "arrays.safetensors", []
    process = OfTwo(first=first)
    if not first:
        process.write = lambda: write_arrays(path, {"ones": np.ones(3)})

    def compute(go_on) -> dict[str, np.ndarray]:
        go_on()
        asked.append(path.exists())
        return {"ones": np.ones(3)}

    assert (kept(path, compute, accelerator=process, what="", shared=shared)["ones"] == 1).all()
    assert asked == [False] * computes


def test_what_is_shared_stops_where_the_other_process_is_asked_to(tmp_path):
    path, done = tmp_path / "arrays.safetensors", []

    def compute(go_on) -> dict[str, np.ndarray]:
        go_on()
        done.append(True)
        return {"ones": np.ones(3)}

    with pytest.raises(Interrupted, match="stopped while labelling; the same command with --resume goes on"):
        kept(path, compute, accelerator=OfTwo(first=True, other_stops=True), what="labelling", shared=True)
    assert not done
    assert not path.exists()
