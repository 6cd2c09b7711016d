"""Draws what techniques, teaching and full tuning gave into ``docs/techniques.md``, between markers, and a picture."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import MISSING

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "techniques.md"
PICTURE = DOCS / "pictures" / "techniques.png"
SURE = 0.05
UNKNOWN = "of a commit that was not kept"


def technique_lines(results: Mapping[str, Any], names: Sequence[tuple[str, str]]) -> list[str]:
    """One table for each room; what has no result yet says so.

    Args:
        results: by name of the measurement.
        names: (room, name) of every technique, in order.
    """
    found = {one["name"]: one for one in results.get("techniques", {}).get("techniques", [])}
    lines: list[str] = []
    for room in dict.fromkeys(room for room, _ in names):
        lines += ["", f"### {room}", "", *_head()]
        lines += [_row(name, found.get(name)) for where, name in names if where == room]
    return [*lines[1:], "", *_origins("Rows", ({**one["origin"], "format": one["format"]} for one in found.values()))]


def _origins(what: str, told: Iterable[Mapping[str, Any] | None], *, unknown: int = 0) -> list[str]:
    """How many of something are of which processor, format and commit, of several sittings; None: that is not known."""
    counts = Counter(_origin(one) for one in told)
    counts[UNKNOWN] += unknown
    places = [f"{count} {where}" for where, count in counts.items() if count]
    return [f"{what}: {'; '.join(places)}."] if places else []


def _origin(one: Mapping[str, Any] | None) -> str:
    if one is None or not one["git"]:
        return UNKNOWN
    changed = " and changes" if one["git"]["dirty"] else ""
    return f"on {one['processor']} in {one['format']}, commit {one['git']['commit'][:7]}{changed}"


def teaching_lines(found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Accuracy without and with a teacher or texts without labels, draw by draw; what has no result yet says so.

    Args:
        found: rows of the measurement, by name.
        names: of every row, in order.
    """
    lines = ["| learnt from | without | with | difference (95 %) | p | draws |", "|---|---|---|---|---|---|"]
    for name in names:
        one = found.get(name)
        if one is None:
            lines.append(f"| {name} | {MISSING} | | | | |")
            continue
        difference = f"{100 * one['difference']:+.2f} ({100 * one['low']:+.2f} to {100 * one['high']:+.2f})"
        off, on = (_draws(accuracies) for accuracies in one["seeds"])
        lines.append(f"| {name} | {off} | {on} | {difference} | {_probability(one['p'])} | {len(one['seeds'][0])} |")
    answers = [answer for one in found.values() for answer in one.get("answers", {}).values()]
    older = sum(len(one["seeds"][0]) for one in found.values()) - len(answers)
    return [*lines, "", *_origins("Draws", (answer["origin"] for answer in answers), unknown=older)]


def tuning_lines(results: Mapping[str, Any]) -> list[str]:
    """Adapters within a million parameters beside all weights trained, on all items; says so where it has no result."""
    names = {"adapters": "`ag-news` on MiniLM", "full": "every weight of MiniLM, by Trainer"}
    result = results.get("full_tuning", {})
    lines = ["| trained | parameters | accuracy (95 %) | seeds | minutes |", "|---|---|---|---|---|"]
    for way, name in names.items():
        one = result.get("ways", {}).get(way)
        if one is None:
            lines.append(f"| {name} | {MISSING} | | | |")
            continue
        accuracy = f"{100 * one['accuracy']:.2f} % ({100 * one['low']:.2f} to {100 * one['high']:.2f})"
        minutes = statistics.median(one["seconds"]) / 60
        lines.append(f"| {name} | {one['trainable']:,} | {accuracy} | {len(one['seeds'])} | {minutes:.0f} |")
    if "difference" not in result:
        return lines
    found = result["difference"]
    by, low, high = (100 * found[key] for key in ("difference", "low", "high"))
    where = "within" if result["within"] else "outside"
    told = f"{by:+.2f} points ({low:+.2f} to {high:+.2f}, p {_probability(found['p'])})"
    runs = [result["runs"][way] for way in names]
    shared = [run[seed]["origin"] for run in runs for seed in run if all(seed in other for other in runs)]
    last = f"Adapters against all weights: {told}, {where} the interval of the latter."
    return [*lines, "", last, *_origins("Runs", shared)]


def _draws(accuracies: Sequence[float]) -> str:
    """Mean, and least and greatest."""
    mean, low, high = sum(accuracies) / len(accuracies), min(accuracies), max(accuracies)
    return f"{100 * mean:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _head() -> list[str]:
    header = ("technique", "learns from", "without", "with", "difference (95 %)", "p", "seconds", "trainable")
    return [f"| {' | '.join(header)} |", f"|{'|'.join('---' for _ in header)}|"]


def _row(name: str, one: Mapping[str, Any] | None) -> str:
    if one is None:
        return f"| {name} | {MISSING} | | | | | | |"
    difference = f"{100 * one['difference']:+.2f} ({100 * one['low']:+.2f} to {100 * one['high']:+.2f})"
    if one["p_corrected"] < SURE:
        difference = f"**{difference}**"
    cells = (
        name,
        one["items"],
        f"{100 * one['off']:.2f}",
        f"{100 * one['on']:.2f}",
        difference,
        _probability(one["p"]),
        _change(one["seconds_off"], one["seconds"]) + (" (fp32)" if one["format"] == "fp32" else ""),
        _change(one["trainable_off"], one["trainable"]),
    )
    return f"| {' | '.join(cells)} |"


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _change(before: float, after: float) -> str:
    same = round(before) == round(after)
    return f"{after:,.0f}" if same else f"{before:,.0f} → {after:,.0f}"


def technique_picture(results: Mapping[str, Any]) -> bytes:
    """Differences with their intervals, largest first, as a PNG."""
    from matplotlib.figure import Figure

    from pennyweight.evaluation.drawing import as_png, styled

    rows = sorted(results.get("techniques", {}).get("techniques", []), key=lambda one: float(one["difference"]))

    def picture() -> Figure:
        figure = Figure(figsize=(8.2, 1.2 + 0.24 * len(rows)))
        axes = figure.subplots()
        middle = [100 * one["difference"] for one in rows]
        below = [100 * (one["difference"] - one["low"]) for one in rows]
        above = [100 * (one["high"] - one["difference"]) for one in rows]
        axes.errorbar(middle, range(len(rows)), xerr=[below, above], fmt="o", markersize=4, capsize=2)
        axes.axvline(0, linewidth=1, color="0.5")
        axes.set_yticks(range(len(rows)), [one["name"] for one in rows])
        axes.set_xlabel("points of accuracy or macro F1, with it less without it")
        return figure

    return as_png(styled(picture)())
