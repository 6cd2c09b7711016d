from __future__ import annotations

from conftest import train_quietly

from pennyweight.pipeline.stages import allotting


def test_ranks_go_to_the_matrices_whose_gradients_ask_for_them(make_recipe, monkeypatch, tmp_path):
    seen = {}

    def spectra(_network, matrices, _objective, steps, *, head, warmup):
        seen.update(warmup=warmup, steps=len(list(steps)), head=bool(head))
        return {name: [1.0] * 9 if name.endswith("1.attention.self.value") else [0.0] for name in matrices}

    monkeypatch.setattr(allotting, "gradient_spectra", spectra)
    recipe = make_recipe(
        adapters={"rank": "sensitivity", "sensitivity_steps": 6},
        budget={"parameters": 700},
        training={"epochs": 2},
    )
    plan = train_quietly(recipe, tmp_path / "out").plan
    assert seen == {"warmup": 3, "steps": 6, "head": True}
    assert {matrix.name: matrix.rank for matrix in plan.matrices} == {"encoder.layer.1.attention.self.value": 9}
