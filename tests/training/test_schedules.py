from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from transformers import get_scheduler

from pennyweight.recipe import ScheduleName
from pennyweight.training.schedules import plateau_factor, rate_factor

SCHEDULES = get_args(ScheduleName)


def course(schedule, *, total=100, warmup=0.0, cycles=1):
    return [rate_factor(s, total=total, warmup=warmup, schedule=schedule, cycles=cycles) for s in range(total)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.15, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_factors_lie_between_nothing_and_the_peak(schedule, warmup, total):
    factors = course(schedule, total=total, warmup=warmup, cycles=3)
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[0] > 0
    assert max(factors) == 1.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_evenly_to_the_peak(schedule):
    factors = course(schedule, total=40, warmup=0.25)
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_is_at_the_peak(schedule):
    assert course(schedule)[0] == 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.2])
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("linear", "linear", {}),
        ("cosine", "cosine", {}),
        ("cosine-restarts", "cosine_with_restarts", {"num_cycles": 3}),
        ("constant", "constant_with_warmup", {}),
    ],
)
def test_after_warm_up_the_course_is_that_of_transformers(ours, theirs, options, warmup):
    """Theirs spends its first step at zero and so stands one step behind ours during warm-up, and only then."""
    total, begin = 60, round(60 * warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        theirs, optimizer, num_warmup_steps=begin, num_training_steps=total, scheduler_specific_kwargs=options
    )
    reference = []
    for _ in range(total):
        reference.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert course(ours, total=total, warmup=warmup, cycles=3)[begin:] == pytest.approx(reference[begin:])


def test_linear_ends_one_step_above_zero():
    assert course("linear")[-1] == pytest.approx(1 / 100)


def test_cosine_is_halfway_at_the_middle():
    assert course("cosine")[50] == pytest.approx(0.5)


def test_restarts_begin_each_cycle_at_the_peak():
    factors = course("cosine-restarts", total=90, cycles=3)
    assert [step for step, factor in enumerate(factors) if factor == pytest.approx(1.0)] == [0, 30, 60]
    assert factors[:30] == pytest.approx(factors[30:60])


def test_one_cycle_is_plain_cosine():
    assert course("cosine-restarts") == pytest.approx(course("cosine"))


@pytest.mark.parametrize(
    ("values", "patience", "halvings"),
    [
        ([], 1, 0),
        ([0.5], 1, 0),
        ([0.5, 0.6, 0.7], 1, 0),
        ([0.5, 0.5], 1, 1),
        ([0.5, 0.4, 0.4, 0.4], 1, 3),
        ([0.5, 0.4, 0.4, 0.4], 2, 1),
        ([0.5, 0.4, 0.6, 0.5, 0.5], 2, 1),
        ([0.5, 0.4, 0.4, 0.4, 0.4], 2, 2),
    ],
)
def test_plateau_halves_after_patience_without_gain(values, patience, halvings):
    assert plateau_factor(values, higher_is_better=True, patience=patience) == 0.5**halvings
    assert plateau_factor([-v for v in values], higher_is_better=False, patience=patience) == 0.5**halvings


def test_plateau_is_constant_between_validations():
    assert set(course("plateau")) == {1.0}


def test_a_factor_beyond_the_end_stays_at_the_end():
    assert rate_factor(100, total=100, warmup=0.0, schedule="cosine-restarts", cycles=2) == 0
    assert math.isclose(rate_factor(100, total=100, warmup=0.0, schedule="linear"), 0)
