from __future__ import annotations

import numpy as np
import pytest
from tiny import sentences, write_csv

import pennyweight
from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.pipeline.judging import choosing
from pennyweight.pipeline.judging.choosing import Rule, choose_classifier
from pennyweight.pipeline.judging.spoiling import CONDITIONS

ROWS, MORE = sentences(90, seed=21), sentences(60, seed=22)


def opener(folder):
    return Classifier.load(folder, device="cpu")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    other = [(text, f"the {label}") for text, label in MORE] + [("Fog.", "weather")]
    return [str(write_csv(folder / "val.csv", ROWS)), str(write_csv(folder / "other.csv", other))]


MAP = {f"the {label}": label for label in ("orchard", "harbour", "workshop")}


def chosen(paths, sources, **options):
    fields = [(sources[0], None), (sources[1], MAP)][: options.pop("fields", 2)]
    return choose_classifier(paths, fields, opener=opener, resamples=300, **options)


def test_cells_are_the_evaluations(trained, seeded, sources):
    choice = chosen([trained, seeded / "seed-0"], sources, conditions=("upper",))
    by_name = {one.name: one for one in choice.candidates}
    for folder in (trained, seeded / "seed-0"):
        loaded = opener(folder)
        expected = {
            f"{condition} on {source}": loaded.evaluate(
                [text.upper() if condition == "upper" else text for text, _ in rows], [label for _, label in rows]
            ).accuracy.value
            for source, rows in zip(sources, (ROWS, MORE), strict=True)
            for condition in ("clean", "upper")
        }
        assert by_name[folder.name].cells == pytest.approx(expected)
        assert by_name[folder.name].score.value == pytest.approx(min(expected.values()))
        assert expected[by_name[folder.name].worst] == min(expected.values())
    assert choice.items == {sources[0]: 90, sources[1]: 60}
    assert choice.left_out == {sources[0]: 0, sources[1]: 1}
    assert choice.chosen.score.value == max(one.score.value for one in choice.candidates)


def test_weights_multiply_data_and_condition(trained, seeded, sources):
    rule = Rule("weighted", "macro_f1", {sources[1]: 3.0, "upper": 0.0})
    choice = chosen([trained, seeded / "seed-0"], sources, conditions=("upper",), rule=rule)
    assert [cell.weight for cell in choice.cells] == [1, 0, 3, 0]
    loaded = opener((choice.candidates[0].name == trained.name and trained) or seeded / "seed-0")
    values = [loaded.evaluate(*zip(*rows, strict=True)).macro_f1.value for rows in (ROWS, MORE)]
    assert choice.chosen.score.value == pytest.approx((values[0] + 3 * values[1]) / 4)


def test_seeds_count_as_one_candidate(trained, seeded, sources):
    choice = chosen([trained, seeded], sources, conditions=(), rule=Rule("mean"), fields=1)
    own = [opener(seeded / f"seed-{s}").evaluate(*zip(*ROWS, strict=True)).accuracy.value for s in (0, 1)]
    by_name = {one.name: one for one in choice.candidates}
    assert by_name[seeded.name].score.value == pytest.approx(np.mean(own))
    assert len(choice.cells) == 1


def test_the_same_choice_again(trained, seeded, sources):
    once, again = (chosen([trained, seeded / "seed-1"], sources, conditions=("typos",), fields=1) for _ in range(2))
    assert once == again
    assert set(once.candidates[0].cells) == {f"{name} on {sources[0]}" for name in ("clean", "typos")}


def test_all_conditions_unless_told_otherwise(trained, seeded, sources, monkeypatch):
    monkeypatch.setattr(
        "pennyweight.pipeline.judging.spoiling.open_wordnet", lambda: lambda word: {"ship": ("boat",)}.get(word, ())
    )
    choice = chosen([trained, seeded / "seed-1"], sources, fields=1)
    assert [cell.condition for cell in choice.cells] == ["clean", *CONDITIONS]
    assert choice.not_measured == {}


def test_what_cannot_be_chosen_by_is_refused(trained, seeded, sources):
    two = [trained, seeded]
    for paths, options, message in (
        ([trained], {}, "nothing to choose from"),
        (two, {"fields": 0}, "--data is missing"),
        (two, {"rule": Rule("weighted")}, "--weights belongs to --by weighted"),
        (two, {"rule": Rule("mean", weights={"clean": 1})}, "--weights belongs to --by weighted"),
        (two, {"rule": Rule("weighted", weights={"claen": 1})}, "no such condition or data set; there are clean"),
        (two, {"rule": Rule("weighted", weights={"clean": -1})}, "at least 0"),
        (two, {"rule": Rule("weighted", weights={"clean": float("nan")})}, "at least 0"),
        (two, {"rule": Rule("weighted", weights=dict.fromkeys(sources, 0.0))}, "all weights are 0"),
        (two, {"conditions": ("rain",)}, "no condition 'rain'"),
        (two, {"rule": Rule("wurst")}, "by = 'wurst': give one of worst, mean, weighted"),
        (two, {"rule": Rule(metric="macro-f1")}, "metric = 'macro-f1': give one of accuracy, macro_f1"),
    ):
        with pytest.raises(InputError, match=message):
            chosen(paths, sources, **options)
    with pytest.raises(InputError, match="given twice"):
        choose_classifier(two, [(sources[0], None)] * 2, opener=opener)


def test_from_python(trained, seeded, sources):
    choice = pennyweight.choose([trained, seeded], sources, conditions=["lower"], mappings={sources[1]: MAP}, by="mean")
    expected = chosen([trained, seeded], sources, conditions=("lower",), rule=Rule("mean"))
    assert [one.cells for one in choice.candidates] == [one.cells for one in expected.candidates]
    alone = pennyweight.choose([trained, seeded], sources[0], conditions=["lower"], by="mean")
    assert alone.cells == choice.cells[:2]
    with pytest.raises(InputError, match="nothing to compare with"):
        pennyweight.compare(trained, sources[0])
    comparison = pennyweight.compare([trained, seeded], sources[1], mapping=MAP)
    assert comparison.unmapped == {"weather": 1}
    audit = pennyweight.audit(trained, sources[0], conditions="lower", text="text")
    assert [one.name for one in audit.conditions] == ["lower"]
    assert audit.metrics.accuracy == opener(trained).evaluate(*zip(*ROWS, strict=True)).accuracy


def test_seeds_of_a_recipe_are_drawn_alike_in_all_conditions(trained, seeded, sources, monkeypatch):
    seen, made = [], choosing.Bench

    def bench(*arguments, keys, **options):
        seen.append(list(keys))
        return made(*arguments, keys=keys, **options)

    monkeypatch.setattr(choosing, "Bench", bench)
    chosen([trained, seeded], sources, conditions=("upper",), fields=1)
    assert seen == [[0, 0, 1, 1]]
