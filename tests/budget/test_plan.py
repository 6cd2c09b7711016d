from __future__ import annotations

import json

import pytest

from pennyweight.budget.plan import Plan, PlannedMatrix, PlannedPrompt, Work
from pennyweight.errors import BudgetError

MATRICES = tuple(
    PlannedMatrix(f"layer.{layer}.query", fan_in=10, fan_out=30, layer=layer, rank=rank, alpha=16.0)
    for layer, rank in ((0, 2), (1, 5))
)


def make(*, budget: int = 500, head: int = 100, largest_rank: int | None = 5) -> Plan:
    work = Work(forward=1000, backward=500, length=16)
    return Plan("tiny", budget=budget, head=head, matrices=MATRICES, work=work, largest_rank=largest_rank)


def test_a_pair_costs_rank_times_both_sides():
    assert [matrix.parameters for matrix in MATRICES] == [80, 200]


def test_groups_sum_to_the_whole():
    plan = make()
    assert plan.groups == {"adapters": 280, "head": 100}
    assert sum(plan.groups.values()) == plan.trainable == 380
    assert plan.adapter_bytes == 4 * 380


@pytest.mark.parametrize(("budget", "within"), [(379, False), (380, True), (381, True)])
def test_the_budget_is_a_bound_that_may_be_reached(budget, within):
    plan = make(budget=budget)
    assert plan.within_budget is within
    if within:
        plan.require_within_budget()
    else:
        with pytest.raises(BudgetError):
            plan.require_within_budget()


def test_the_refusal_says_by_how_much_and_what_fits():
    assert make(budget=300, largest_rank=4).refusal() == (
        "over budget: 380 trainable parameters are 80 more than 300; "
        "the largest uniform rank that fits is 4 (--set adapters.rank=4)"
    )


def test_the_refusal_where_no_rank_fits():
    refusal = make(budget=120, largest_rank=None).refusal()
    assert "no uniform rank fits beside a head of 100" in refusal
    assert "head.kind" in refusal and "adapters.targets" in refusal


def test_as_json():
    content = json.loads(json.dumps(make().as_dict()))
    assert {"backbone", "trainable", "budget", "within_budget", "groups", "modules"} <= content.keys()
    assert content["modules"][1] == {
        "name": "layer.1.query",
        "in": 10,
        "out": 30,
        "rank": 5,
        "alpha": 16.0,
        "parameters": 200,
    }
    assert sum(module["parameters"] for module in content["modules"]) == content["groups"]["adapters"]
    assert content["flops_per_token"] == {"forward": 1000, "backward": 500, "at_length": 16}


@pytest.mark.parametrize(
    ("kind", "rank", "shape", "count"),
    [
        ("lora", 3, (10, 30), 3 * 40),
        ("dora", 3, (10, 30), 3 * 40 + 30),
        ("adalora", 3, (10, 30), 3 * 41),
        ("ia3", 0, (10, 30), 30),
        ("ia3", 0, (10, 10), 10),
        ("ia3", 0, (30, 10), 30),
    ],
)
def test_what_each_kind_weighs(kind, rank, shape, count):
    assert PlannedMatrix("m", *shape, layer=0, rank=rank, alpha=1.0, kind=kind).parameters == count


VECTORS = tuple(
    PlannedMatrix(name, fan_in=10, fan_out=30, layer=0, rank=0, alpha=0.0, kind="ia3") for name in ("key", "value")
)


def other(*, matrices=(), prompt=None, budget=100, head=40) -> Plan:
    work = Work(forward=1, backward=1, length=16)
    return Plan("tiny", budget=budget, head=head, matrices=matrices, work=work, largest_rank=None, prompt=prompt)


def test_groups_of_every_kind_sum_to_the_whole():
    plan = other(matrices=(*MATRICES, *VECTORS), prompt=PlannedPrompt(3, 8))
    assert plan.groups == {"adapters": 280, "ia3": 60, "prompt": 24, "head": 40}
    assert (plan.adapters, plan.trainable) == (364, 404)
    content = plan.as_dict()
    assert content["groups"] == plan.groups
    assert content["prompt"] == {"length": 3, "width": 8}
    assert [module.get("kind") for module in content["modules"]] == [None, None, "ia3", "ia3"]


@pytest.mark.parametrize(
    ("plan", "remedy"),
    [
        (other(prompt=PlannedPrompt(9, 8)), "the longest prompt that fits is 7 (--set adapters.prompt_length=7)"),
        (other(prompt=PlannedPrompt(1, 80)), "no prompt fits beside a head of 40: take a smaller head"),
        (other(matrices=VECTORS, budget=99), "beside a head of 40 take fewer matrices (adapters.ia3_targets)"),
    ],
)
def test_the_refusal_says_what_can_be_made_smaller(plan, remedy):
    assert remedy in plan.refusal()


def test_ranks_still_to_be_found_count_with_the_most_they_may_take():
    plan = Plan("tiny", 500, 100, (), Work(1, 1, 16), None, undecided=400)
    assert plan.groups == {"adapters": 400, "head": 100}
    assert plan.within_budget
    assert plan.as_dict()["undecided"] == 400
