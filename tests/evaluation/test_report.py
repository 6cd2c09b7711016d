from __future__ import annotations

import json
import re
import tomllib

import numpy as np
import pytest
from bs4 import BeautifulSoup
from several import NAMES, several

from pennyweight.errors import RunError
from pennyweight.evaluation.decisions import Decision
from pennyweight.evaluation.groups import GroupMetrics, Groups
from pennyweight.evaluation.label_metrics import StreamingLabelMetrics
from pennyweight.evaluation.metrics import StreamingMetrics, wilson
from pennyweight.evaluation.mistakes import Mistake, WorstMistakes
from pennyweight.evaluation.report import ReportContents, write_report

HOSTILE = ["<script>alert(1)</script>", 'x" onload="alert(1)', "W" * 500, "\ud800\x00\u202e</style>", "كرة القدم", ""]
PLAN = {
    **{"backbone": "some/backbone", "trainable": 250_000, "budget": 1_000_000, "within_budget": True},
    **{"groups": {"adapters": 240_000, "head": 10_000}, "adapter_bytes": 1_000_320},
    "modules": [{"name": "encoder.layer.0.query", "in": 384, "out": 385, "rank": 7, "parameters": 5383}],
    "flops_per_token": {"forward": 21_300_000, "backward": 22_900_000, "at_length": 128},
}
HISTORY = [
    {"event": "step", "step": 1, "epoch": 0.5, "loss": 1.4, "learning_rate": 1e-3, "examples_per_second": 800.0},
    {"event": "step", "step": 2, "epoch": 1.0, "loss": 1.1, "learning_rate": 5e-4, "examples_per_second": 900.0},
    {
        **{"event": "validation", "step": 2, "epoch": 1.0, "loss": 1.0, "accuracy": 0.7},
        **{"macro_precision": 0.7, "macro_recall": 0.6, "macro_f1": 0.65},
    },
]
DATA = {
    **{"items": 480, "class_counts": {"a": 300, "b": 180}, "length_quantiles": {"min": 11, "50%": 36, "max": 70}},
    **{"truncated": 3, "duplicates": 5, "conflicting": 2, "leaks": 1, "max_length": 128},
    **{"truncated_rows": [4, 9, 11], "duplicate_rows": [3, 8], "conflicting_rows": [], "leaked_rows": [17]},
}
RECIPE = {"backbone": {"name": "minilm"}, "data": {"limit": None, "text": ["<b>title</b>"]}}
ENVIRONMENT = {
    "versions": {"torch": "2.13.0"},
    "device": "cpu",
    "training_seconds": 41.7,
    "peak_resident_bytes": 812_000_000,
    "git": None,
}


def _metrics(names=("a", "b", "c"), items=120, temperature=1.5):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, len(names), items)
    logits = generator.normal(size=(items, len(names)))
    logits[np.arange(items), labels] += 2
    metrics = StreamingMetrics(names, temperature=temperature)
    metrics.update(logits, labels)
    return metrics.result(resamples=50)


def _full(**changes):
    mistakes = [Mistake(7, "A text.", "a", "b", 0.91), Mistake(3, "Another.", "b", "c", 0.6)]
    contents = {
        **{"title": "quickstart", "metrics": _metrics(), "evaluated_on": "starter, 120 test items"},
        **{"mistakes": mistakes, "plan": PLAN, "history": HISTORY, "data": DATA, "recipe": RECIPE},
        "environment": ENVIRONMENT,
    }
    return ReportContents(**{**contents, **changes})


def _read(folder, contents):
    return BeautifulSoup(write_report(folder, contents).read_bytes().decode(), "html.parser")


def _words(node):
    return " ".join(node.get_text(" ").replace("\u202f", " ").split())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The page of everything, read only."""
    return _read(tmp_path_factory.mktemp("full"), _full())


def test_writes_the_page_the_numbers_and_the_plots(tmp_path):
    contents = _full()
    assert write_report(tmp_path / "report", contents) == tmp_path / "report" / "report.html"
    written = {str(path.relative_to(tmp_path / "report")) for path in tmp_path.rglob("*") if path.is_file()}
    names = ("loss", "scores", "learning_rate", "confusion", "reliability", "predicted_classes")
    assert written == {"report.html", "metrics.json", *(f"plots/{name}.png" for name in names)}
    assert json.loads((tmp_path / "report" / "metrics.json").read_text()) == contents.metrics.as_dict()


def test_states_what_was_measured_on_what_and_how_surely(full):
    words = _words(full.header)
    accuracy, f1 = _metrics().accuracy, _metrics().macro_f1
    assert "Evaluated on starter, 120 test items" in words
    assert f"Accuracy {100 * accuracy.value:.1f} % {100 * accuracy.low:.1f} % to {100 * accuracy.high:.1f} %" in words
    assert "95 % interval (Wilson), n = 120" in words
    assert f"Macro F1 {100 * f1.value:.1f} % {100 * f1.low:.1f} % to {100 * f1.high:.1f} %" in words
    assert "T = 1.500, which was picked on validation data" in words
    assert "250,000 trainable parameters of a budget of 1,000,000 (25.0 % of it)" in words


def test_says_so_where_nothing_was_scaled(tmp_path):
    page = _read(tmp_path, _full(metrics=_metrics(temperature=1.0)))
    assert "no temperature scaling was applied" in _words(page.header)
    assert "validation data" not in _words(page.header)


def test_needs_nothing_from_outside_and_runs_nothing(full):
    assert not full.find_all(["script", "link", "iframe", "object", "base"])
    addresses = [
        node[key] for node in full.find_all(True) for key in ("src", "href", "xlink:href") if node.has_attr(key)
    ]
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.findall(r"@import|url\((?!#)", str(full))
    assert "default-src 'none'" in full.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]


def test_every_link_within_the_page_arrives(full):
    targets = {node["id"] for node in full.find_all(id=True)}
    links = [link["href"][1:] for link in full.find_all("a")]
    assert (
        {"training", "errors", "classes", "confidence", "mistakes", "data", "plan", "recipe"} <= set(links) <= targets
    )


def test_every_colour_of_the_plots_is_defined_by_the_page(full):
    used = set(re.findall(r"var\((--\w+)\)", str(full)))
    assert {"--ink", "--blue", "--orange"} <= used <= set(re.findall(r"(--\w+):", full.style.text))


def test_an_evaluation_without_training_leaves_out_what_it_has_not(tmp_path):
    contents = ReportContents(title="ag-news", metrics=_metrics(), evaluated_on="test.csv, 120 items")
    page = _read(tmp_path, contents)
    assert [section["id"] for section in page.find_all("section")] == ["errors", "classes", "confidence"]
    assert not page.find(class_="budget")
    assert sorted(path.stem for path in (tmp_path / "plots").iterdir()) == [
        "confusion",
        "predicted_classes",
        "reliability",
    ]


def test_training_without_validation_shows_no_scores(tmp_path):
    page = _read(tmp_path, _full(history=HISTORY[:1]))
    assert page.find(id="plot-loss")
    assert not page.find(id="plot-scores")
    assert "1 optimiser step, 0.5 epochs, 800 items per second" in _words(page.find(id="training"))


def test_the_sections_hold_what_was_given(full):
    assert "2 optimiser steps, 1 epoch, 850 items per second (median over steps), 1 validation." in _words(
        full.find(id="training")
    )
    data = _words(full.find(id="data"))
    assert "480 items" in data
    assert "3 longer than the model reads, so cut (rows 4, 9, 11)" in data
    assert "5 repeat an earlier item: same text, same label (rows 3, 8, …)" in data
    assert "2 have a text that occurs with another label too 1 have" in data
    assert "1 have a text that occurs in the evaluation data (row 17)" in data
    assert "max length 128" in data
    plan = _words(full.find(id="plan"))
    assert "240,000 parameters in adapters and 10,000 in the head: 250,000 in all, 1.00 MB on disk" in plan
    assert "21.3 MFLOP forward and 22.9 MFLOP backward, counted at 128 tokens." in plan
    assert "encoder.layer.0.query 384 385 7 5,383" in plan
    assert full.find(id="plan").find("details")
    assert tomllib.loads(full.find(id="recipe").pre.text) == {
        "backbone": {"name": "minilm"},
        "data": {"text": ["<b>title</b>"]},
    }
    environment = _words(full.find(id="environment"))
    assert "versions torch 2.13.0" in environment
    assert "peak resident 812.00 MB" in environment
    assert "git" not in environment


def test_a_plan_without_the_optional_figures_is_shown(tmp_path):
    plan = {key: value for key, value in PLAN.items() if key not in {"adapter_bytes", "flops_per_token"}}
    words = _words(_read(tmp_path, _full(plan={**plan, "budget": None, "modules": []})))
    assert "250,000 trainable parameters, on some/backbone" in words
    assert "on disk" not in words


def test_per_class_table_holds_every_class(full):
    metrics = _metrics()
    rows = full.find(id="classes").find_all("tr")[1:]
    for row, one in zip(rows, metrics.per_class, strict=True):
        assert _words(row).startswith(f"{one.label} {one.support} {one.predicted} {100 * one.precision:.1f} %")
        assert f"{100 * one.f1.low:.1f} % to {100 * one.f1.high:.1f} %" in _words(row)


@pytest.mark.parametrize("classes", [13, 120])
def test_of_many_classes_the_weakest_come_first(tmp_path, classes):
    metrics = _metrics([f"class {i}" for i in range(classes)], items=1000)
    section = _read(tmp_path, _full(metrics=metrics)).find(id="classes")
    names = [row.th.get_text(strip=True) for row in section.find_all("tr")[1:]]
    assert names == [one.label for one in sorted(metrics.per_class, key=lambda one: one.f1.value)]
    assert bool(section.find("details")) == (classes > 100)


def test_confusions_are_ranked_by_count(full):
    metrics = _metrics()
    rows = full.find(id="errors").find_all("tr")[1:]
    counts = sorted(
        (n for i, row in enumerate(metrics.confusion) for j, n in enumerate(row) if i != j and n), reverse=True
    )
    assert [int(row.find_all("td")[2].text) for row in rows] == counts[:10]


def test_no_mistakes_is_said_and_perfect_scores_are_not_called_certain(tmp_path):
    metrics = StreamingMetrics(["a", "b", "never"])
    metrics.update(np.eye(3)[:2] * 9, np.array([0, 1]))
    page = _read(tmp_path, _full(metrics=metrics.result(resamples=50), mistakes=()))
    assert "No item was classified wrongly." in _words(page.find(id="errors"))
    assert "not that none can occur" in _words(page.find(id="classes"))
    assert "1 of the classes does not occur in this data" in _words(page.find(id="classes"))
    assert not page.find(id="mistakes")


def test_hostile_names_and_texts_stay_text(tmp_path):
    texts = [*HOSTILE, "<img src=x onerror=alert(1)>", "y" * 10_000, "</p></body></html>", "{{ 7 * 7 }}"]
    worst = WorstMistakes()
    for row, text in enumerate(texts):
        worst.offer(row=row, text=text, label=HOSTILE[row % 6], predicted=HOSTILE[(row + 1) % 6], confidence=0.5)
    page = _read(
        tmp_path,
        _full(
            **{
                "title": HOSTILE[0],
                "evaluated_on": HOSTILE[1],
                "metrics": _metrics(HOSTILE),
                "mistakes": worst.ranked(),
            },
            **{"data": {**DATA, "class_counts": dict.fromkeys(HOSTILE, 3)}, "recipe": {"text": {"column": HOSTILE[0]}}},
            **{"plan": {**PLAN, "backbone": HOSTILE[0]}, "environment": {HOSTILE[0]: HOSTILE[3]}},
        ),
    )
    assert not page.find_all(["script", "img"])
    assert not [node for node in page.find_all(True) if any(key.startswith("on") for key in node.attrs)]
    assert len(page.find_all("body")) == 1
    shown = [item.p.get_text() for item in page.find(id="mistakes").find_all("li")]
    assert "<img src=x onerror=alert(1)>" in shown
    assert "{{ 7 * 7 }}" in shown
    assert max(map(len, shown)) <= 402
    assert json.loads((tmp_path / "metrics.json").read_text())["labels"] == HOSTILE


def test_the_same_contents_make_the_same_page(tmp_path):
    assert write_report(tmp_path / "a", _full()).read_bytes() == write_report(tmp_path / "b", _full()).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*metrics.json"):
        write_report(tmp_path / "report", _full())


def _several_labels(tmp_path, **changes):
    metrics = StreamingLabelMetrics(NAMES, Decision("multi-label", 1.5, (0.4, 0.3, 0.5, 0.6, 0.5)), resamples=20)
    metrics.update(*several())
    history = [*HISTORY[:2], {**HISTORY[2], "micro_f1": 0.71}]
    return _full(metrics=metrics.result(), history=history, **changes)


def test_the_page_of_several_labels(tmp_path):
    contents = _several_labels(tmp_path)
    page = _read(tmp_path, contents)
    words = _words(page)
    metrics = contents.metrics
    for value in (metrics.micro_f1.value, metrics.macro_f1.value, metrics.accuracy.value, metrics.hamming_loss):
        assert f"{100 * value:.1f} %" in words
    assert "All labels right" in words
    assert page.find(id="errors") is None
    rows = page.select("#classes tbody tr") or page.select("#classes tr")
    assert [row.th.get_text() for row in rows[-5:]] == list(NAMES)
    assert _words(rows[-5]).split()[3] == "0.400"
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {
        *("loss", "scores", "learning_rate", "label_scores", "reliability", "predicted_classes"),
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics.as_dict()
    targets = {link["href"] for link in page.select("nav a")}
    assert all(page.find(id=target.removeprefix("#")) for target in targets)


@pytest.mark.parametrize("kind", ["one class", "several labels"])
def test_groups_are_shown_the_worst_first(kind, tmp_path):
    several_micro = None if kind == "one class" else 0.5
    groups = Groups(
        "<lang>", tuple(GroupMetrics(name, 7, wilson(3, 7), 0.25, several_micro) for name in ("中文", "<b>"))
    )
    make = _full if kind == "one class" else _several_labels
    page = _read(tmp_path, make(groups=groups) if kind == "one class" else make(tmp_path, groups=groups))
    section = page.find(id="groups")
    assert "By <lang>" in _words(section)
    assert [row.th.get_text() for row in section.select("tr")[1:]] == ["中文", "<b>"]
    assert ("micro F1" in _words(section)) == (kind != "one class")
    assert "42.9 %" in _words(section)
    assert page.select("nav a[href='#groups']")
