"""One self-contained page that says how good a classifier is, on what, and how it came about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from pennyweight.evaluation import plots
from pennyweight.evaluation.drawing import as_svg, short
from pennyweight.evaluation.groups import Groups
from pennyweight.evaluation.judged import AnyMetrics
from pennyweight.evaluation.metrics import Metrics
from pennyweight.evaluation.mistakes import Mistake, excerpt
from pennyweight.evaluation.toml_text import as_toml
from pennyweight.files import write_bytes

_LONGEST_NAME = 60
_MOST_CONFUSIONS = 10
_SMALL_TABLE = 12
_INSPECTED = (
    ("items", "", "items"),
    ("truncated", "truncated_rows", "longer than the model reads, so cut"),
    ("duplicates", "duplicate_rows", "repeat an earlier item: same text, same label"),
    ("conflicting", "conflicting_rows", "have a text that occurs with another label too"),
    ("leaks", "leaked_rows", "have a text that occurs in the evaluation data"),
)
"""Figures of an inspection: key, key of the first rows concerned, meaning."""


@dataclass(frozen=True)
class ReportContents:
    """Everything that a report tells; what is None or empty is left out of the page.

    Attributes:
        title: the page's heading.
        metrics: of the evaluated data.
        evaluated_on: which data that was, as a phrase: "starter, 120 test items".
        mistakes: wrongly classified items, in the order in which they are to be shown.
        plan: what ``plan --json`` prints, with ``adapter_bytes`` and ``flops_per_token`` where known.
        history: the records that training logged, ``{"event": "step" or "validation", "step": …}``.
        data: the inspection of the training data.
        recipe: the whole recipe, nested by section.
        environment: versions, device, dtype, seconds, git state.
        groups: the same metrics by the values of a column.
    """

    title: str
    metrics: AnyMetrics
    evaluated_on: str
    mistakes: Sequence[Mistake] = ()
    plan: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    groups: Groups | None = None


def write_report(folder: Path, contents: ReportContents) -> Path:
    """Write ``folder``/metrics.json, plots/*.png and report.html, each whole or not at all; returns the page's path.

    Raises:
        RunError: the folder cannot be written.
    """
    figures = _figures(contents)
    page = _render(contents, figures)
    numbers = json.dumps(contents.metrics.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Names read from JSON may hold unpaired surrogates, which UTF-8 has no bytes for; \udXXX is right in JSON too.
    write_bytes(folder / "metrics.json", numbers.encode("utf-8", "backslashreplace"))
    plots.save_plots(figures, folder / "plots")
    path = folder / "report.html"
    write_bytes(path, page.encode("utf-8", "replace"))
    return path


def _figures(contents: ReportContents) -> dict[str, Figure]:
    """The plots that there is something to draw in, by file name."""
    events = {record["event"] for record in contents.history}
    figures = {}
    if events & {"step", "validation"}:
        figures["loss"] = plots.loss_curves(contents.history)
    if "validation" in events:
        figures["scores"] = plots.score_curves(contents.history)
    if "step" in events:
        figures["learning_rate"] = plots.learning_rate_curve(contents.history)
    if isinstance(contents.metrics, Metrics):
        figures["confusion"] = plots.confusion_matrix(contents.metrics)
    else:
        figures["label_scores"] = plots.label_scores(contents.metrics)
    figures["reliability"] = plots.reliability_diagram(contents.metrics)
    figures["predicted_classes"] = plots.predicted_class_bars(contents.metrics)
    return figures


def _render(contents: ReportContents, figures: Mapping[str, Figure]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digits = 1 if contents.metrics.examples < 10_000 else 2
    environment.filters["percent"] = lambda share: f"{100 * share:.{digits}f}\u202f%"
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["name"] = lambda label: short(label, _LONGEST_NAME)
    environment.filters["bytes"] = _bytes
    environment.filters["flops"] = _flops
    return environment.get_template("report.html.j2").render(
        title=contents.title,
        metrics=contents.metrics,
        evaluated_on=contents.evaluated_on,
        # Drawn by matplotlib, which escapes the class names in it.
        plots={name: Markup(as_svg(figure)) for name, figure in figures.items()},
        classes=_classes(contents.metrics),
        confusions=_confusions(contents.metrics) if isinstance(contents.metrics, Metrics) else [],
        confusion_caption=plots.confusion_caption(len(contents.metrics.label_names)),
        groups=contents.groups,
        mistakes=[(mistake, excerpt(mistake.text)) for mistake in contents.mistakes],
        plan=contents.plan,
        shares=_shares(contents.plan) if contents.plan else None,
        training=_training(contents.history),
        inspection=_inspection(contents.data) if contents.data else None,
        recipe=as_toml(contents.recipe) if contents.recipe else None,
        environment=_rows(contents.environment or {}),
    )


def _classes(metrics: AnyMetrics) -> dict[str, Any]:
    """The per-class table: in label order where it is short, else the weakest first."""
    weakest_first = len(metrics.per_class) > _SMALL_TABLE
    rows: list[Any] = list(metrics.per_class)
    if weakest_first:
        rows.sort(key=lambda one: one.f1.value)
    return {
        "rows": rows,
        "weakest_first": weakest_first,
        "without_width": any(one.support and one.f1.low == one.f1.high for one in rows),
        "absent": sum(not one.support for one in rows),
    }


def _confusions(metrics: Metrics) -> list[dict[str, Any]]:
    """The pairs (true, predicted) that are mixed up most often, with their share of the true class."""
    counts, names = np.array(metrics.confusion), metrics.label_names
    support = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    true, predicted = np.nonzero(counts)  # of many classes most cells are empty
    ranked = np.argsort(-counts[true, predicted], kind="stable")[:_MOST_CONFUSIONS]
    pairs = [(int(true[place]), int(predicted[place])) for place in ranked]
    return [
        {
            "count": int(counts[one, other]),
            "label": names[one],
            "predicted": names[other],
            "share": float(counts[one, other] / support[one]),
        }
        for one, other in pairs
    ]


def _shares(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Head, adapters and what is left of the budget, with their widths in a bar in per cent."""
    budget = plan.get("budget") or plan["trainable"]
    whole = max(budget, plan["trainable"], 1)
    parts = [(name, plan["groups"][name], name) for name in plan["groups"]]
    parts.append(("unused", max(0, budget - plan["trainable"]), "free"))
    return {
        "used": plan["trainable"] / max(budget, 1),
        "parts": [
            {"name": name, "parameters": number, "width": f"{100 * number / whole:.3f}", "kind": kind}
            for name, number, kind in parts
            if number
        ],
    }


def _training(history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the records say in one line: steps, epochs, the usual speed; None where nothing was trained."""
    steps = [record for record in history if record["event"] == "step"]
    if not steps:
        return None
    speeds = [record["examples_per_second"] for record in steps if record.get("examples_per_second")]
    return {
        "steps": steps[-1]["step"],
        "epochs": f"{steps[-1]['epoch']:.3g}" if steps[-1].get("epoch") is not None else None,
        "speed": f"{median(speeds):,.0f}" if speeds else None,
        "validated": sum(record["event"] == "validation" for record in history),
    }


def _inspection(data: Mapping[str, Any]) -> dict[str, Any]:
    """The inspection as class counts, length quantiles, named figures, and the rest as plain rows."""
    counts = data.get("class_counts") or {}
    known = {"class_counts", "length_quantiles", *(key for keys in _INSPECTED for key in keys)}
    return {
        "class_counts": counts,
        "largest": max(counts.values(), default=1) or 1,
        "quantiles": data.get("length_quantiles") or {},
        "figures": [
            (data[key], meaning, ", ".join(map(str, data.get(rows) or ())))
            for key, rows, meaning in _INSPECTED
            if key in data
        ],
        "rest": _rows({key: value for key, value in data.items() if key not in known}),
    }


def _rows(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys and values in words; nested values on one line, and nothing for what is None or empty."""
    rows = [
        (key.removesuffix("_bytes").replace("_", " "), _bytes(value))
        if key.endswith("_bytes") and isinstance(value, int)
        else (key.replace("_", " "), _words(value))
        for key, value in mapping.items()
    ]
    return [(key, words) for key, words in rows if words]


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words}" for key, words in _rows(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value)


def _bytes(number: int) -> str:
    return f"{number / 1e6:.2f}\u202fMB" if number >= 1e5 else f"{number / 1e3:.1f}\u202fkB"


def _flops(number: float) -> str:
    return f"{number / 1e6:,.1f}\u202fMFLOP"
