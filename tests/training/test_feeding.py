from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from pennyweight.data.batches import TokenTable
from pennyweight.training.feeding import Course, Feeder

COURSE = Course(items=53, epochs=3, batch_size=8, accumulation=1, validations_per_epoch=1, order="sorted", seed=4)


def table_of_numbers(items: int) -> TokenTable:
    """Item i is the token i, i % 7 + 1 times."""
    lengths = np.array([i % 7 + 1 for i in range(items)])
    ids = np.repeat(np.arange(items), lengths).astype(np.int32)
    return TokenTable(ids=ids, offsets=np.concatenate([[0], np.cumsum(lengths)]), full_lengths=lengths)


def feeder(course: Course = COURSE, **changes) -> Feeder:
    given = {"pad_id": 999, "length": None, "device": torch.device("cpu"), **changes}
    labels = np.arange(course.items) % 5
    return Feeder(course=course, table=table_of_numbers(course.items), labels=labels, **given)


def items_of(batch) -> list[int]:
    assert batch.weight == 1.0
    return batch.inputs["input_ids"][:, 0].tolist()


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("batch_size", [1, 8, 53, 100])
@pytest.mark.parametrize("accumulation", [1, 3, 50])
def test_every_item_once_per_epoch(order, batch_size, accumulation):
    course = replace(COURSE, order=order, batch_size=batch_size, accumulation=accumulation)
    steps = list(feeder(course).steps())
    assert [number for number, _ in steps] == list(range(course.total_steps))
    for epoch in range(course.epochs):
        seen: Counter[int] = Counter()
        for _, content in steps[epoch * course.steps_per_epoch : (epoch + 1) * course.steps_per_epoch]:
            assert 1 <= len(content.batches) <= accumulation
            for batch in content.batches:
                seen.update(items_of(batch))
            assert content.items == sum(len(batch.labels) for batch in content.batches)
        assert seen == Counter(range(53))


def test_labels_and_masks_go_with_their_items():
    for _, content in feeder().steps():
        for batch in content.batches:
            items = torch.tensor(items_of(batch))
            assert torch.equal(batch.labels, items % 5)
            assert torch.equal(batch.inputs["attention_mask"].sum(dim=1), items % 7 + 1)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_resuming_at_any_step_gives_the_same_batches(accumulation):
    course = replace(COURSE, accumulation=accumulation)
    whole = list(feeder(course).steps())
    for first in range(course.total_steps + 1):
        rest = list(feeder(course).steps(first))
        assert [number for number, _ in rest] == list(range(first, course.total_steps))
        for (_, one), (_, other) in zip(rest, whole[first:], strict=True):
            assert [items_of(batch) for batch in one.batches] == [items_of(batch) for batch in other.batches]


def test_epochs_and_seeds_differ():
    def order(course: Course) -> list[list[int]]:
        return [items_of(batch) for _, content in feeder(course).steps() for batch in content.batches]

    batches = order(COURSE)
    assert batches[:7] != batches[7:14]
    assert batches != order(replace(COURSE, seed=5))
    assert batches == order(COURSE)


def test_a_fixed_length_pads_everything_to_it():
    assert {tuple(b.inputs["input_ids"].shape[1:]) for _, s in feeder(length=9).steps() for b in s.batches} == {(9,)}


@pytest.mark.parametrize("batch_size", [8, 3, 1])
def test_processes_share_each_batch_and_leave_nothing_out(batch_size):
    course = replace(COURSE, batch_size=batch_size)
    parts = [list(feeder(course, process=process, processes=4).steps()) for process in range(4)]
    for number, content in feeder(course).steps():
        for index, whole in enumerate(content.batches):
            shares = [part[number][1].batches[index] for part in parts]
            with_items = [share for share in shares if share.weight]
            assert sorted(item for share in with_items for item in items_of(share)) == sorted(items_of(whole))
            assert all(len(share.labels) == 1 for share in shares if not share.weight)
            assert {part[number][1].items for part in parts} == {content.items}


@pytest.mark.parametrize("per_epoch", [1, 2, 3, 7, 100])
def test_validations_per_epoch(per_epoch):
    course = replace(COURSE, validations_per_epoch=per_epoch)
    due = [step for step in range(1, course.total_steps + 1) if course.validates_after(step)]
    expected = min(per_epoch, course.steps_per_epoch)
    assert len(due) == expected * course.epochs
    for epoch in range(1, course.epochs + 1):
        assert epoch * course.steps_per_epoch in due
    first = [step for step in due if step <= course.steps_per_epoch]
    gaps = np.diff([0, *first])
    assert gaps.max() - gaps.min() <= 1


def test_the_run_in_numbers():
    course = replace(COURSE, accumulation=2)
    assert (course.steps_per_epoch, course.total_steps) == (4, 12)
    assert course.epochs_after(6) == 1.5


def test_a_balanced_course_has_as_many_steps_and_goes_on_exactly():
    course = replace(COURSE, sampler="balanced")
    labels = (np.arange(course.items) < 8).astype(np.int64)
    balanced = replace(feeder(course), labels=labels)
    steps = list(balanced.steps())
    assert [number for number, _ in steps] == list(range(COURSE.total_steps))
    assert [content.items for _, content in steps] == [content.items for _, content in feeder().steps()]
    seen = Counter(label for _, content in steps for batch in content.batches for label in batch.labels.tolist())
    assert abs(seen[0] - seen[1]) <= course.epochs
    resumed = list(balanced.steps(9))
    for (number, content), (other, expected) in zip(resumed, steps[9:], strict=True):
        assert number == other
        assert [items_of(batch) for batch in content.batches] == [items_of(batch) for batch in expected.batches]
