from __future__ import annotations

import pytest

from benchmarks.flag_search import STAGES, changed
from benchmarks.harness import Measured, Share
from benchmarks.peak import Product
from benchmarks.peers import NOTEBOOK, TUNED, Flags
from benchmarks.training import PENNYWEIGHT, RATIOS, TRAINERS, Gathered, lines, report, require_alike

RATES = {
    "notebook": 10.0,
    "tuned": 40.0,
    "expert": 100.0,
    "expert_uncast": 100.0,
    "pennyweight": 200.0,
    "all_linear": 180.0,
    "upper_half": 400.0,
}


def gathered() -> Gathered:
    tried = (Product(8, 8, 8), Product(64, 8, 8))
    peaks = {"8x8x8": 1e12, "64x8x8": 2e12}
    return Gathered(
        items=50,
        described={name: {"trainable": 7} for name in RATES},
        losses={name: {"before": 1.4, "after": 1.0, "steps": 2} for name in RATES},
        needed={"pennyweight": 50 * 2_000_000_000, "all_linear": 50 * 2_100_000_000, "upper_half": 50 * 800_000_000},
        tried=tried,
        measured=Measured({name: (Share(rate, 1.0),) * 5 for name, rate in (RATES | peaks).items()}),
    )


def test_the_report_keeps_its_contract():
    content = report(gathered())
    promised = {"pennyweight/notebook", "pennyweight/tuned", "pennyweight/expert", "upper_half/notebook"}
    assert promised | {"upper_half/tuned", "all_linear/pennyweight"} <= set(content["ratios"])
    assert content["ratios"]["pennyweight/notebook"] == 20.0
    assert content["ratios"]["upper_half/tuned"] == 10.0
    assert content["ratio_spread"]["pennyweight/expert"] == {"median": 2.0, "low": 2.0, "high": 2.0, "n": 5}
    assert content["contenders"]["tuned"]["examples_per_second"]["median"] == 40.0
    assert content["contenders"]["tuned"]["loss"]["after"] == 1.0


def test_fractions_are_needed_work_over_the_peak():
    content = report(gathered())
    assert content["fraction_of_matmul_peak"] == pytest.approx(200 * 2e9 / 1e12)
    assert content["fraction_of_best_shape"]["median"] == pytest.approx(200 * 2e9 / 2e12)
    # Trainer's contenders are given what the same adapters need, whatever they spend.
    assert content["fractions_of_matmul_peak"]["notebook"]["median"] == pytest.approx(10 * 2e9 / 1e12)
    assert content["fractions_of_matmul_peak"]["upper_half"]["median"] == pytest.approx(400 * 0.8e9 / 1e12)


def test_people_read_every_contender_and_ratio():
    told = "\n".join(lines(report(gathered())))
    assert all(f"{name}: " in told for name in RATES)
    assert all(f"{name}/{other}: " in told for name, other in RATIOS)
    assert "pennyweight: 200.0 examples/s (200.0–200.0), 40 % of the matmul peak" in told


def test_contenders_that_train_different_things_are_not_compared():
    described = {name: {"trainable": 7} for name in (*TRAINERS, *PENNYWEIGHT)}
    described["upper_half"] = {"trainable": 3}
    require_alike(described)
    described["tuned"] = {"trainable": 8}
    with pytest.raises(RuntimeError, match="different numbers of parameters"):
        require_alike(described)


def test_the_search_adds_flags_and_keeps_those_it_has():
    padded = changed(NOTEBOOK, {"arguments": {"bf16": True}})
    grouped = changed(padded, STAGES["padding"]["longest, group_by_length"])
    assert grouped == TUNED
    assert changed(grouped, {"multiple": 8}) == Flags(padding="longest", multiple=8, arguments=TUNED.arguments)
    assert Flags() == NOTEBOOK


def test_the_search_changes_nothing_about_model_or_learning():
    allowed = {"padding", "multiple", "arguments"}
    forbidden = {"max_grad_norm", "learning_rate", "per_device_train_batch_size", "num_train_epochs", "weight_decay"}
    for candidates in STAGES.values():
        for change in candidates.values():
            assert set(change) <= allowed
            assert not forbidden & set(change.get("arguments", {}))
