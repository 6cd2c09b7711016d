"""Whole runs of every kind of adapter: planned, trained, resumed, opened again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from abilities import needs_int8
from conftest import train_quietly
from safetensors.numpy import load_file
from tiny import LABELS

from pennyweight.api import plan
from pennyweight.classifier import Classifier
from pennyweight.errors import BudgetError, InputError, Interrupted
from pennyweight.pipeline.planning import plan_recipe
from pennyweight.pipeline.preparation import collect
from pennyweight.training.fit import Fit

KINDS = {
    "dora": {"kind": "dora"},
    "adalora": {"kind": "adalora"},
    "pissa": {"init": "pissa"},
    "eva": {"init": "eva"},
    "lora+prompt": {"kind": "lora+prompt", "prompt_length": 3},
    "lora+ia3": {"kind": "lora+ia3"},
    "sensitivity": {"rank": "sensitivity"},
}
BUDGET = 4200


@pytest.fixture(scope="module")
def run_of(make_recipe, tmp_path_factory):
    """A function from a kind to its finished run; each is trained once."""
    runs = {}

    def run(name):
        if name not in runs:
            recipe = recipe_of(make_recipe, name)
            runs[name] = recipe, train_quietly(recipe, tmp_path_factory.mktemp(name) / "out")
        return runs[name]

    return run


def recipe_of(make_recipe, name):
    training = {"checkpoint_steps": 1, "learning_rate": 2e-2}
    return make_recipe(adapters=KINDS[name], training=training, budget={"parameters": BUDGET})


@pytest.mark.parametrize("name", KINDS)
def test_what_is_recorded_is_what_the_opened_folder_gives(name, run_of):
    recipe, outcome = run_of(name)
    classifier = Classifier.load(outcome.folder, device="cpu")
    assert classifier.manifest.adapters.kind == recipe.adapters.kind
    collected = collect(recipe)
    texts = [collected.texts[index] for index in collected.validation]
    again = classifier.evaluate(texts, collected.labels[collected.validation].tolist(), resamples=100)
    recorded = classifier.manifest.metrics
    assert again.as_dict()["confusion"] == recorded["confusion"]
    assert again.log_loss == recorded["log_loss"]
    assert classifier.manifest.plan == outcome.plan.as_dict()
    assert sum(outcome.plan.groups.values()) == outcome.plan.trainable <= BUDGET
    weights = {str(path.relative_to(outcome.folder)) for path in outcome.folder.rglob("adapter_*")}
    assert weights == {name for name in classifier.manifest.files if "adapter" in name}
    assert len(weights) == (4 if "+" in name else 2)


@pytest.mark.parametrize("name", ["adalora", "pissa", "eva", "lora+prompt", "sensitivity"])
def test_a_stopped_run_goes_on_to_the_same_classifier(name, run_of, make_recipe, tmp_path, monkeypatch):
    recipe, whole = run_of(name)
    stop_after(monkeypatch, 6)
    with pytest.raises(Interrupted):
        train_quietly(recipe, tmp_path / "out")
    monkeypatch.undo()
    resumed = train_quietly(recipe, tmp_path / "out", resume=True)
    assert resumed.plan == whole.plan
    for path in sorted(whole.folder.rglob("*.safetensors")):
        assert (tmp_path / "out" / path.relative_to(whole.folder)).read_bytes() == path.read_bytes(), path
    assert not (tmp_path / "out" / "training").exists()


def stop_after(monkeypatch, step: int) -> None:
    """As if Ctrl-C came in the step behind it: the run is left with the checkpoint of this one."""
    original = Fit.run

    def run(self, listen):
        def both(event, progress):
            listen(event, progress)
            if progress.next_step > step:
                raise Interrupted("stopped")

        return original(self, both)

    monkeypatch.setattr(Fit, "run", run)


def test_where_eva_begins_does_not_depend_on_how_batches_are_computed(run_of, make_recipe, tmp_path):
    """A text by itself, so that every forward pass holds one alone."""
    recipe, outcome = run_of("eva")
    training = recipe.training.model_copy(update={"forward_tokens": 8})
    split = train_quietly(recipe.model_copy(update={"training": training}), tmp_path / "out")
    texts = collect(recipe).texts[:20]
    one, other = (Classifier.load(folder, device="cpu").logits(texts) for folder in (outcome.folder, split.folder))
    assert other == pytest.approx(one, abs=1e-3)


@needs_int8
def test_int8_of_a_kind_that_is_folded(run_of):
    _, outcome = run_of("lora+prompt")
    texts = ["A ship at the quay.", "The lathe in the shed."]
    exact = Classifier.load(outcome.folder, device="cpu", precision="fp32").logits(texts)
    rough = Classifier.load(outcome.folder, device="cpu", precision="int8").logits(texts)
    assert 0 < np.abs(exact - rough).max() < 0.3


def test_what_adalora_has_pruned_is_not_saved(run_of):
    recipe, outcome = run_of("adalora")
    tensors = load_file(outcome.folder / "adapter_model.safetensors")
    ranks = [len(tensor) for name, tensor in tensors.items() if name.endswith("lora_E")]
    assert all(1 <= rank <= recipe.adapters.rank for rank in ranks)
    assert sum(tensor.size for tensor in tensors.values()) < outcome.plan.adapters


def test_ranks_by_sensitivity_fill_the_budget_and_are_told(run_of, make_recipe):
    recipe, outcome = run_of("sensitivity")
    least = min(matrix.fan_in + matrix.fan_out for matrix in outcome.plan.matrices)
    assert BUDGET - least < outcome.plan.trainable <= BUDGET
    assert len({matrix.rank for matrix in outcome.plan.matrices}) > 1
    before = plan_recipe(recipe)
    assert (before.undecided, before.trainable) == (BUDGET - 99, BUDGET)
    again = train_quietly(recipe, outcome.folder, resume=True)  # finished: read, not trained
    assert again.plan == outcome.plan
    ranks = {matrix.name: matrix.rank for matrix in outcome.plan.matrices}
    fixed = make_recipe(adapters={"targets": list(ranks), "rank_pattern": ranks}, budget={"parameters": BUDGET})
    assert plan_recipe(fixed).matrices == outcome.plan.matrices


def test_damaged_ranks_are_refused_with_the_remedy(make_recipe, tmp_path, monkeypatch):
    recipe = recipe_of(make_recipe, "sensitivity")
    stop_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        train_quietly(recipe, tmp_path / "out")
    monkeypatch.undo()
    path = tmp_path / "out" / "training" / "ranks.json"
    assert sum(json.loads(path.read_text()).values()) > 0
    path.write_text('{"encoder": "many"}')
    with pytest.raises(InputError, match=r"ranks\.json: cannot be read .*; train anew into another folder"):
        train_quietly(recipe, tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    ("adapters", "refusal"),
    [
        ({"kind": "prompt", "prompt_length": 200}, "text.max_length = 48: .* beside a prompt of 200"),
        ({"init": "pissa", "rank": 33}, "adapters.init = 'pissa' takes ranks up to 32"),
        ({"init": "eva", "rank": 33}, "adapters.init = 'eva' takes ranks up to 32"),
        ({"kind": "ia3", "ia3_targets": ["keys"]}, "adapters.ia3_targets: 'keys' matches no matrix.*near: key"),
    ],
)
def test_what_the_backbone_cannot_carry(adapters, refusal, make_recipe):
    table = make_recipe().model_dump(mode="json")
    if "ia3" in adapters.get("kind", "") or adapters.get("kind") == "prompt":
        table["adapters"] = {}
    with pytest.raises(InputError, match=refusal):
        plan(make_plain(table, adapters))


def make_plain(table, adapters):
    from pennyweight.recipe_files import build_recipe

    return build_recipe({**table, "adapters": {**table["adapters"], **adapters}})


def test_a_prompt_before_another_architecture_is_refused(tmp_path, make_recipe):
    from tiny import make_backbone

    folder = make_backbone(tmp_path / "distil", "distilbert")
    recipe = make_plain({**make_recipe().model_dump(mode="json"), "adapters": {}}, {"kind": "prompt"})
    with pytest.raises(InputError, match="a distilbert encoder takes no prompt here, only bert, roberta"):
        plan(recipe, backbone={"name": str(folder)})


def test_adalora_that_fills_needs_room_to_prune(make_recipe):
    with pytest.raises(InputError, match="prunes down from rank 1"):
        plan(make_recipe(adapters={"kind": "adalora", "rank": "fill"}, budget={"parameters": 1100}))
    with pytest.raises(BudgetError, match="rank 1 on a single matrix"):
        plan(make_recipe(adapters={"rank": "sensitivity"}, budget={"parameters": 120}))


def test_the_command_prints_ranks_for_a_recipe(pennyweight, small_recipe, tmp_path):
    options = (small_recipe, "--set", "adapters.sensitivity_steps=4", "--budget", 3000)
    code, out, err = pennyweight("allot", *options, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["budget"] == 3000
    assert answer["targets"] == list(answer["rank_pattern"])
    code, out, err = pennyweight("allot", *options)
    assert code == 0, err
    text = small_recipe.read_text()
    before, _, rest = text.partition("[adapters]")
    behind = rest.partition("\n[")[2]
    path = tmp_path / "found.toml"
    path.write_text(f"{before}[{behind}\n{out}")
    code, planned, err = pennyweight("plan", path, "--budget", 3000, "--json")
    assert code == 0, err
    assert json.loads(planned)["trainable"] == answer["trainable"]
    assert {module["name"]: module["rank"] for module in json.loads(planned)["modules"]} == answer["rank_pattern"]
    assert len(LABELS) == 3


def test_the_plan_before_says_that_ranks_follow(pennyweight, small_recipe):
    code, out, err = pennyweight("plan", small_recipe, "--set", "adapters.rank=sensitivity", "--budget", 3000)
    assert code == 0, err
    assert "ranks follow from gradients when training begins, at most 2,901 parameters" in " ".join(out.split())


@pytest.mark.parametrize("name", KINDS)
def test_what_the_optimizer_remembers_is_planned(name, run_of):
    _, outcome = run_of(name)
    environment = json.loads((outcome.folder / "classifier.json").read_text())["environment"]
    assert environment["optimizer_bytes"] == pytest.approx(outcome.plan.optimizer_bytes, rel=0.02)


def test_what_is_not_decided_is_planned_at_the_most(make_recipe):
    before = plan_recipe(recipe_of(make_recipe, "sensitivity"))
    assert before.optimizer_bytes == 8 * before.trainable


def test_adalora_s_weights_are_chosen_behind_its_pruning(make_recipe, tmp_path, monkeypatch):
    """Scores only fall, so that the first validation of all would be the best."""
    falling = iter(range(100))

    def validate(_bench):
        score = 1 / (1 + next(falling))
        return {"accuracy": score, "macro_f1": score, "loss": 1 - score}

    monkeypatch.setattr("pennyweight.pipeline.workbench.Workbench.validate", validate)
    adapters = {"kind": "adalora", "rank": 4, "final_rank": 2, "prune_between": [0.1, 0.5]}
    recipe = make_recipe(adapters=adapters, training={"epochs": 6, "learning_rate": 2e-2})
    outcome = train_quietly(recipe, tmp_path / "out")
    assert outcome.fitted.best_step == outcome.fitted.total_steps / 2
    tensors = load_file(outcome.folder / "adapter_model.safetensors")
    assert np.mean([len(tensor) for name, tensor in tensors.items() if name.endswith("lora_E")]) == 2


def test_eva_wants_matrices_that_see_enough(make_recipe, tmp_path):
    recipe = make_recipe(
        adapters={"init": "eva", "rank": 30, "targets": ["query"]},
        head={"pooling": "cls"},
        data={"limit_per_class": 6},
        budget={"parameters": 10_000},
    )
    with pytest.raises(InputError, match=r"init = 'eva' .* encoder.layer.1.attention.self.query sees fewer"):
        train_quietly(recipe, tmp_path / "out")


def test_adalora_s_penalty_is_weighed_as_the_recipe_says(make_recipe, tmp_path):
    made = []
    for weight in (0.0, 5.0):
        adapters = {"kind": "adalora", "orthogonality": weight}
        out = train_quietly(make_recipe(adapters=adapters, training={"epochs": 1}), tmp_path / str(weight)).folder
        made.append((out / "adapter_model.safetensors").read_bytes())
    assert made[0] != made[1]
