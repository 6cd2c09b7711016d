from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bs4 import BeautifulSoup
from conftest import train_quietly
from tiny import LABELS, sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.evaluation.significance import mcnemar
from pennyweight.opening import load
from pennyweight.pipeline.combining.ensembling import make_ensemble
from pennyweight.pipeline.judging import comparing
from pennyweight.pipeline.judging.auditing import audit_source
from pennyweight.pipeline.judging.comparing import compare_sources
from pennyweight.pipeline.judging.judgement import evaluate_source
from pennyweight.pipeline.judging.pages import write_comparison


def opener(folder):
    return Classifier.load(folder, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("compared") / "test.csv", sentences(120, seed=21))


@pytest.fixture(scope="module")
def judged(trained, seeded, data, tmp_path_factory):
    """Evaluations of two classifiers on `data`, each in a folder."""
    folder = tmp_path_factory.mktemp("judged")
    for name, place in (("one", trained), ("two", seeded / "seed-0")):
        evaluate_source(opener(place), str(data), out=folder / name)
    return folder


def compared(*paths, source=None, **options):
    return compare_sources(paths, None if source is None else str(source), opener=opener, resamples=500, **options)


def test_standings_are_the_evaluations_and_pairs_those_of_the_items(trained, seeded, data, judged):
    found = compared(trained, seeded / "seed-0", source=data)
    tables = [pq.read_table(judged / name / "predictions.parquet").to_pylist() for name in ("one", "two")]
    right = np.array([[row["label"] == row["predicted"] for row in table] for table in tables])
    for standing, folder in zip(found.standings, (trained, seeded / "seed-0"), strict=True):
        expected = opener(folder).evaluate(*zip(*sentences(120, seed=21), strict=True))
        assert standing.accuracy == expected.accuracy
        assert standing.macro_f1.value == pytest.approx(expected.macro_f1.value)
        assert standing.ece == pytest.approx(expected.ece)
        assert standing.trainable == opener(folder).manifest.plan["trainable"]
        assert standing.seconds_per_thousand > 0
    (pair,) = found.pairs
    counts = ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())
    assert (pair.only_first, pair.only_second) == counts
    assert pair.p == mcnemar(*map(int, counts)).mid_p
    assert found.items == 120


def test_written_predictions_stand_for_their_classifier(trained, seeded, data, judged):
    live = compared(trained, seeded / "seed-0", source=data)
    written = compared(judged / "one" / "predictions.parquet", judged / "two" / "predictions.parquet")
    mixed = compared(judged / "one" / "predictions.parquet", seeded / "seed-0", source=data)
    for other in (written, mixed):
        for one, same in zip(live.standings, other.standings, strict=True):
            assert (same.accuracy, same.macro_f1) == (one.accuracy, one.macro_f1)
            assert same.ece == pytest.approx(one.ece, abs=1e-9)
        assert other.pairs[0].accuracy == live.pairs[0].accuracy
        assert other.pairs[0].p == live.pairs[0].p
    assert written.standings[0].seconds_per_thousand is None
    assert [one.name for one in written.standings] == [str(judged / n / "predictions.parquet") for n in ("one", "two")]


def test_labels_are_matched_by_name_and_items_by_row(judged, tmp_path):
    table = pq.read_table(judged / "two" / "predictions.parquet")
    turned = table.select(["row", "label", "predicted", "confidence", *(f"p_{label}" for label in reversed(LABELS))])
    shuffled = turned.take(np.random.default_rng(0).permutation(len(turned))[:100])
    pq.write_table(shuffled, tmp_path / "two.parquet")
    whole = compared(judged / "one" / "predictions.parquet", judged / "two" / "predictions.parquet")
    found = compared(judged / "one" / "predictions.parquet", tmp_path / "two.parquet")
    assert (found.items, found.left_out) == (100, 20)
    rows = set(shuffled["row"].to_pylist())
    kept = [row for row in table.to_pylist() if row["row"] in rows]
    assert found.standings[1].accuracy.value == pytest.approx(np.mean([r["label"] == r["predicted"] for r in kept]))
    pq.write_table(turned, tmp_path / "whole.parquet")
    assert compared(judged / "one" / "predictions.parquet", tmp_path / "whole.parquet").pairs[0].p == whole.pairs[0].p


def test_a_folder_of_seeds_is_one_contender(trained, seeded, data):
    found = compared(trained, seeded, source=data)
    own = [opener(seeded / f"seed-{s}").evaluate(*zip(*sentences(120, seed=21), strict=True)) for s in (0, 1)]
    assert [one.seeds for one in found.standings] == [1, 2]
    assert found.standings[1].accuracy.value == pytest.approx(np.mean([one.accuracy.value for one in own]))
    assert found.standings[1].macro_f1.value == pytest.approx(np.mean([one.macro_f1.value for one in own]))
    assert found.pairs[0].test == "items and seeds"


def test_the_page_holds_every_contender_and_pair(trained, seeded, data, tmp_path):
    found = compared(trained, seeded, seeded / "seed-1", source=data)
    page = write_comparison(tmp_path / "out", found)
    soup = BeautifulSoup(page.read_text(), "html.parser")
    tables = [[[cell.get_text() for cell in row.find_all("td")] for row in t.find_all("tr")[1:]] for t in soup("table")]
    assert {row[0] for row in tables[0]} == {trained.name, f"{seeded.name} (2 seeds)", "seed-1"}
    assert [tuple(row[:2]) for row in tables[1]] == [(one.first, one.second) for one in found.pairs]
    assert len(soup("svg")) == 1
    assert (tmp_path / "out" / "plots" / "comparison-1.png").stat().st_size > 5000
    assert "script" not in page.read_text()


def test_what_cannot_be_compared_is_refused(trained, seeded, data, judged, tmp_path, make_recipe):
    for paths, source, message in (
        ((trained,), data, "nothing to compare with"),
        ((trained, trained), data, "is given twice"),
        ((trained, seeded), None, "--data is missing"),
        ((trained, tmp_path / "nowhere"), data, "no such classifier folder"),
        ((trained, tmp_path / "no.parquet"), data, "there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            compared(*paths, source=source)


def written(path, table, **changes):
    columns = {name: changes.pop(name, table[name]) for name in table.column_names}
    pq.write_table(pa.table({name: one for name, one in {**columns, **changes}.items() if one is not None}), path)
    return path


def test_damaged_tables_are_refused(judged, data, tmp_path):
    table = pq.read_table(judged / "one" / "predictions.parquet")
    one, other = judged / "one" / "predictions.parquet", tmp_path / "other.parquet"
    rows = table["row"].to_pylist()
    turned = [LABELS[(LABELS.index(label) + 1) % 3] for label in table["label"].to_pylist()]
    for changes, message in (
        ({"row": None}, "column 'row' is not that"),
        ({"label": pa.array([0] * len(rows))}, "column 'label' is not that"),
        ({"row": pa.array([rows[0], *rows[:-1]])}, f"row {rows[0]} stands in it twice"),
        ({"label": pa.array(["whale"] * len(rows))}, "label 'whale' has no column"),
        ({"label": pa.array(turned)}, "another label than in the data"),
        ({f"p_{LABELS[0]}": pa.array([float("nan")] * len(rows))}, "probabilities that are none"),
        ({f"p_{LABELS[0]}": None}, "has no column|lacks"),
        ({"p_whale": pa.array([0.0] * len(rows))}, "has whale besides"),
        ({"row": pa.array([row + 1000 for row in rows])}, "no item that all of them have"),
    ):
        with pytest.raises(InputError, match=message):
            compared(one, written(other, table, **changes))
    other.write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        compared(one, other)
    with pytest.raises(InputError, match="answer no changed texts"):
        from pennyweight.pipeline.judging.choosing import choose_classifier

        choose_classifier([one, judged / "two" / "predictions.parquet"], [(str(data), None)], opener=opener)


def test_other_columns_have_to_be_named(trained, make_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("pennyweight.pipeline.run.write_report", lambda folder, _: folder / "report.html")
    rows = [(text, text[:9], label) for text, label in sentences(60)]
    source = write_csv(tmp_path / "two.csv", rows, ("body", "title", "kind"))
    recipe = make_recipe(
        data={"source": str(source), "text": ["title", "body"], "label": "kind"}, training={"epochs": 1}
    )
    other = train_quietly(recipe, tmp_path / "out").folder
    with pytest.raises(InputError, match=r"different text columns \(text, title\+body\); say which with --text"):
        compared(trained, other, source=source)
    with pytest.raises(InputError, match=r"different label columns \(kind, label\)"):
        compared(trained, other, source=source, text=("body",))
    assert compared(trained, other, source=source, text=("body",), label="kind").items == 60


def test_an_ensemble_is_a_contender_like_any_other(trained, seeded, data, tmp_path):
    make_ensemble([trained, seeded / "seed-0"], tmp_path / "both")
    found = compare_sources([trained, tmp_path / "both"], str(data), opener=load, resamples=500)
    expected = load(tmp_path / "both").evaluate(*zip(*sentences(120, seed=21), strict=True))
    assert found.standings[1].accuracy == expected.accuracy
    assert found.standings[1].ece == pytest.approx(expected.ece)
    audit = audit_source(load(tmp_path / "both"), str(data), conditions=("lower",), resamples=500)
    assert audit.metrics.accuracy == expected.accuracy
    assert audit.length_unit == "words"


def test_many_pairs_get_resamples_enough_to_tell_them_apart(monkeypatch, judged, tmp_path):
    """Of eleven contenders 55 pairs: with 2,000 resamples none could be below 0.05 when corrected for all."""
    asked, made = [], comparing.Bench

    def bench(*arguments, resamples, **options):
        asked.append(resamples)
        return made(*arguments, resamples=resamples, **options)

    monkeypatch.setattr(comparing, "Bench", bench)
    tables = [
        shutil.copy(judged / name / "predictions.parquet", tmp_path / f"{name}-{copy}.parquet")
        for name in ("one", "two")
        for copy in range(4)
    ]
    for count in (2, 8):
        compare_sources(tables[:count], None, opener=opener)
    assert asked == [2000, 2800]
