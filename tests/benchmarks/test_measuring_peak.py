from __future__ import annotations

import torch

from benchmarks import peak
from benchmarks.harness import Measured, Share
from benchmarks.peak import Multiplier, Product, best_of, describe_peak, peak_of, products


def test_a_product_is_counted_as_two_operations_for_each_multiply_add():
    assert Product(2, 3, 5).flops == 60
    assert Product(2, 3, 5).name == "2x3x5"
    share = Multiplier(Product(64, 32, 16))()
    assert share.work == 2 * 64 * 32 * 16
    assert share.seconds > 0


def test_what_is_multiplied_is_what_networks_compute_in(monkeypatch):
    for form, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        monkeypatch.setattr(peak, "float_format", lambda form=form: form)
        assert Multiplier(Product(8, 4, 2))._left.dtype == dtype
        measured = Measured({"8x8x8": (Share(1.0, 1.0),) * 3})
        assert describe_peak(measured, (Product(8, 8, 8),))["format"] == form


def test_the_peak_is_the_best_square_whatever_else_is_faster():
    tried = (Product(8, 8, 8), Product(16, 16, 16), Product(32, 8, 8))
    rates = {"8x8x8": 3.0, "16x16x16": 2.0, "32x8x8": 9.0}
    measured = Measured({name: (Share(rate, 1.0),) * 3 for name, rate in rates.items()})
    assert peak_of(measured, tried) == tried[0]
    assert best_of(measured, tried) == tried[2]
    described = describe_peak(measured, tried)
    assert described["peak_is"] == "best of the squares: 8x8x8"
    assert described["peak_flops"]["median"] == 3.0
    assert described["best_of_all"]["shape"] == "32x8x8"
    assert set(described["shapes"]) == set(rates)


def test_the_networks_own_shapes_are_among_those_tried():
    tried = products(rows=100, hidden=24, inner=96)
    assert {Product(100, 24, 24), Product(100, 24, 96), Product(100, 96, 24)} <= set(tried)
    assert sum(one.square for one in tried) == 3
