from __future__ import annotations

import pkgutil
from importlib import metadata
from pathlib import Path

import pytest

import pennyweight


def test_the_public_names_are_these_and_no_others():
    expected = [
        "BudgetError",
        "Classifier",
        "Ensemble",
        "InputError",
        "Interrupted",
        "PennyweightError",
        "RunError",
        "audit",
        "choose",
        "compare",
        "load",
        "plan",
        "train",
    ]
    assert sorted(pennyweight.__all__) == expected
    for name in expected:
        assert getattr(pennyweight, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pennyweight.nothing  # noqa: B018


def test_errors_say_how_the_command_ends():
    assert issubclass(pennyweight.InputError, pennyweight.PennyweightError)
    codes = {
        error: error.exit_code
        for error in (pennyweight.InputError, pennyweight.BudgetError, pennyweight.RunError, pennyweight.Interrupted)
    }
    assert list(codes.values()) == [2, 1, 1, 130]


def test_the_functions_take_shipped_names_files_and_recipes(make_recipe, tmp_path):
    from pennyweight.recipe_files import load_recipe

    by_name = pennyweight.plan("quickstart")
    assert by_name == pennyweight.plan(load_recipe("quickstart"))
    assert pennyweight.plan("quickstart", adapters={"rank": 1}).trainable < by_name.trainable
    with pytest.raises(pennyweight.InputError, match=r"adapters\.rnk"):
        pennyweight.plan("quickstart", adapters={"rnk": 1})
    outcome = pennyweight.train(make_recipe(), tmp_path / "out", training={"epochs": 1})
    assert outcome.plan == pennyweight.plan(make_recipe())
    classifier = pennyweight.Classifier.load(outcome.folder)
    assert set(classifier.predict(["A ship at the quay."])) <= set(classifier.labels)


def test_every_module_has_a_docstring_and_stays_short():
    root = Path(pennyweight.__file__).parent
    files = sorted(root.rglob("*.py"))
    packages = [name for _, name, _ in pkgutil.walk_packages([str(root)], "pennyweight.")]
    assert len(files) == len(packages) + 1 > 50
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 300, path
        assert lines[0].startswith('"""'), path


def test_the_package_is_typed_and_carries_its_data():
    root = Path(pennyweight.__file__).parent
    assert (root / "py.typed").exists()
    assert metadata.version("pennyweight")
    assert len((root / "data" / "starter" / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 480
    assert len((root / "data" / "starter" / "test.jsonl").read_text(encoding="utf-8").splitlines()) == 120
