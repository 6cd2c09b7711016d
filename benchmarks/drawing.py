"""Draws what was measured into ``docs/speed.md`` and ``docs/techniques.md``, between markers, and their pictures.

``python -m benchmarks.drawing`` reads ``benchmarks/results/*.json``. What has no result says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.tables import INFERENCE, MISSING, REACHING, TABLES, TRAINING, Result, contender_of, on_cpu, stop_of
from benchmarks.teaching import of_today
from benchmarks.teaching_rows import ROWS
from benchmarks.technique_page import PAGE as TECHNIQUES
from benchmarks.technique_page import PICTURE as DIFFERENCES
from benchmarks.technique_page import teaching_lines, technique_lines, technique_picture, tuning_lines
from benchmarks.techniques import technique_names
from pennyweight.files import write_bytes, write_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "speed.md"
PICTURE = DOCS / "pictures" / "speed.png"


def main() -> None:
    """Write page and picture."""
    results = read_results()
    speed = {name: table(results) for name, table in TABLES.items()}
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), speed))
    write_bytes(PICTURE, drawn(results))
    write_text(TECHNIQUES, filled(TECHNIQUES.read_text(encoding="utf-8"), technique_tables(results)))
    write_bytes(DIFFERENCES, technique_picture(results))
    print(f"written: {PAGE}, {PICTURE}, {TECHNIQUES}, {DIFFERENCES}")


def technique_tables(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """The tables of the page of techniques, by name."""
    taught = of_today(results.get("teaching", {}).get("rows", {}))
    return {
        "techniques": technique_lines(results, technique_names()),
        "teaching": teaching_lines(taught, list(ROWS)),
        "full-tuning": tuning_lines(results),
    }


def read_results(folder: Path = RESULTS) -> dict[str, Any]:
    """Every result there is, by the name of its measurement."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def filled(page: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The page with every part between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` written anew.

    Args:
        page: in Markdown.
        tables: lines of each part, by its name.

    Raises:
        ValueError: the page has no place for a table, or one that is not known.
    """
    places = re.findall(r"<!-- begin ([\w-]+) -->", page)
    if sorted(places) != sorted(tables):
        raise ValueError(f"the page has places for {sorted(places)}, the tables are {sorted(tables)}")
    for name, table in tables.items():
        lines = "\n".join(table)
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        page = re.sub(pattern, lambda found, lines=lines: f"{found[1]}{lines}\n{found[2]}", page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def drawn(results: Mapping[str, Any]) -> bytes:
    """Three panels of bars as a PNG: training, seconds to the goal, predicting."""
    from matplotlib.figure import Figure

    from pennyweight.evaluation.drawing import as_png, styled

    training, inference = on_cpu(results, "training"), on_cpu(results, "inference")
    reaching: Result = results.get("time_to_accuracy")

    def picture() -> Figure:
        figure = Figure(figsize=(8.2, 6.6))
        panels = figure.subplots(3, 1, height_ratios=(len(TRAINING), len(REACHING), len(INFERENCE)))
        _bars(panels[0], f"training, examples per second{place_of(training)}", TRAINING, _rates(training, TRAINING))
        reached = {name: contender_of(reaching, name) for name in REACHING}
        seconds = {name: one["seconds"] if one else None for name, one in reached.items()}
        stops = {name: stop_of(one) for name, one in reached.items() if one and not one["seconds"]}
        _bars(
            panels[1],
            f"seconds from a cold start to 90 % (less is better){place_of(reaching)}",
            REACHING,
            seconds,
            notes=stops,
        )
        _bars(
            panels[2], f"predicting, examples per second{place_of(inference)}", INFERENCE, _rates(inference, INFERENCE)
        )
        return figure

    return as_png(styled(picture)())


def _bars(
    axes: Any,
    title: str,
    names: Mapping[str, str],
    values: Mapping[str, float | None],
    *,
    notes: Mapping[str, str] | None = None,
) -> None:
    """One panel; what has no value is told by its note, else as not measured."""
    from pennyweight.evaluation.drawing import BLUE, FAINT

    ours = ("pennyweight", "all_linear", "upper_half", "bf16", "int8")
    known = [values.get(name) or 0.0 for name in names]
    axes.barh(range(len(names)), known, color=[BLUE if name in ours else FAINT for name in names])
    axes.set_yticks(range(len(names)), [words.replace("`", "") for words in names.values()])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlim(0, 1.15 * max(known) if any(known) else 1)
    axes.xaxis.set_visible(any(known))
    for place, name in enumerate(names):
        value = values.get(name)
        words = f"{value:,.0f}" if value else (notes or {}).get(name, MISSING)
        axes.annotate(words, (value or 0, place), xytext=(4, 0), textcoords="offset points", va="center")


def place_of(result: Result) -> str:
    """The machine of a result, for the end of a title."""
    if result is None:
        return ""
    machine = result["machine"]
    form = "bf16" if {"amx_bf16", "avx512_bf16"} & set(machine["capabilities"]) else "fp32"
    return f"; {machine['processor'].replace('(R)', '')}, {machine['cores']} cores, {form}"


def _rates(result: Result, names: Mapping[str, str]) -> dict[str, float | None]:
    found = {name: contender_of(result, name) for name in names}
    return {name: one["examples_per_second"]["median"] if one else None for name, one in found.items()}


if __name__ == "__main__":
    main()
