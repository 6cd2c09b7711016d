"""Draws what was measured into ``docs/speed.md``, between its markers, and ``docs/pictures/speed.png``.

``python -m benchmarks.drawing`` reads ``benchmarks/results/*.json``. What has no result says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from pennyweight.files import write_bytes, write_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "speed.md"
PICTURE = DOCS / "pictures" / "speed.png"
MISSING = "not measured"

Result = Mapping[str, Any] | None

TRAINING: Mapping[str, str] = {
    "notebook": "Trainer + PEFT as in notebooks: padded to 128, fp32",
    "tuned": "Trainer + PEFT, its own flags: bf16 autocast, grouped by length",
    "expert": "the same, plain attention, no dropout, frozen weights in bf16",
    "pennyweight": "Pennyweight, the same adapters",
    "all_linear": "Pennyweight, LoRA on all six matrices",
    "upper_half": "Pennyweight, adapters in the upper half, later epochs",
}
REACHING: Mapping[str, str] = {
    "notebook": "Trainer + PEFT as in notebooks",
    "tuned": "Trainer + PEFT, its own flags",
    "full": "Trainer, everything trained, the same flags",
    "pennyweight": "Pennyweight, the same adapters",
    "upper_half": "Pennyweight, adapters in the upper half",
    "tfidf": "TF-IDF and a linear support-vector machine",
}
INFERENCE: Mapping[str, str] = {
    "pipeline": "`pipeline()` on a list of texts",
    "pipeline_sorted": "`pipeline(batch_size=32)`, texts sorted by length",
    "onnxruntime_int8": "ONNX Runtime, int8, dynamic",
    "bf16": "Pennyweight, bf16",
    "int8": "Pennyweight, int8",
}


def main() -> None:
    """Write page and picture."""
    results = read_results()
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), results))
    write_bytes(PICTURE, drawn(results))
    print(f"written: {PAGE}, {PICTURE}")


def read_results(folder: Path = RESULTS) -> dict[str, Any]:
    """Every result there is, by the name of its measurement."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def filled(page: str, results: Mapping[str, Any]) -> str:
    """The page with every part between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` written anew.

    Raises:
        ValueError: the page has no place for a table, or one that is not known.
    """
    places = re.findall(r"<!-- begin ([\w-]+) -->", page)
    if sorted(places) != sorted(TABLES):
        raise ValueError(f"the page has places for {sorted(places)}, the tables are {sorted(TABLES)}")
    for name, table in TABLES.items():
        lines = "\n".join(table(results))
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        page = re.sub(pattern, lambda found, lines=lines: f"{found[1]}{lines}\n{found[2]}", page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def machine_lines(results: Mapping[str, Any]) -> list[str]:
    """On what the figures were measured: of every measurement that was made."""
    told: dict[str, list[str]] = {}
    for name, result in results.items():
        if "machine" not in result:
            continue
        machine, versions = result["machine"], result["versions"]
        extras = [one for one in ("amx_bf16", "avx512_bf16", "amx_int8") if one in machine["capabilities"]]
        line = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
            f"{', ' + ', '.join(extras) if extras else ''}; Python {versions['python']}, "
            f"PyTorch {versions['torch']}, Transformers {versions['transformers']}, PEFT {versions['peft']}"
        )
        told.setdefault(line, []).append(f"`{name}`")
    return [f"{', '.join(names)}: {line}." for line, names in told.items()] or [f"{MISSING}."]


def training_lines(results: Mapping[str, Any]) -> list[str]:
    """Examples per second while training, and what part of the machine's peak that is."""
    result: Result = results.get("training")
    rows = []
    for name, what in TRAINING.items():
        one = _contender(result, name)
        if result is None or one is None:
            rows.append([what, MISSING, "", "", ""])
            continue
        base = result["contenders"]["notebook"]["examples_per_second"]["median"]
        rate = one["examples_per_second"]
        share = result["fractions_of_matmul_peak"][name]["median"]
        loss = f"{one['loss']['before']:.2f} → {one['loss']['after']:.2f}"
        rows.append([what, _spread(rate), f"{rate['median'] / base:.1f}×", f"{100 * share:.0f} %", loss])
    lines = _table(["", "examples/s", "× notebook", "of the bf16 peak", "held-out loss"], rows)
    if result is not None:
        peak = result["matmul"]
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratios"].items())
        lines += [
            "",
            f"Medians of {result['settings']['rounds']} rounds, quartiles in brackets. Medians of the ratios within a "
            f"round: {ratios}. {peak['peak_is'].capitalize()}, {peak['peak_flops']['median'] / 1e9:,.0f} GFLOP/s.",
        ]
    return lines


def reaching_lines(results: Mapping[str, Any]) -> list[str]:
    """Seconds to the goal."""
    result: Result = results.get("time_to_accuracy")
    rows = []
    for name, what in REACHING.items():
        one = _contender(result, name)
        if one is None:
            rows.append([what, MISSING, "", ""])
            continue
        runs = one["runs"]
        seconds = f"{one['seconds']:.0f} s" if one["seconds"] else _stop(one)
        every = ", ".join(f"{run['seconds']:.0f}" if run["reached"] else "–" for run in runs)
        items = ", ".join(f"{run['items_seen']:,}" for run in runs)
        rows.append([what, seconds, every, items])
    return _table(["", "median", "seconds, seed by seed", "items seen"], rows)


def inference_lines(results: Mapping[str, Any]) -> list[str]:
    """Examples per second while predicting, with the accuracy."""
    result: Result = results.get("inference")
    rows = []
    for name, what in INFERENCE.items():
        one = _contender(result, name)
        if one is None:
            rows.append([what, MISSING, ""])
            continue
        rows.append([what, _spread(one["examples_per_second"]), f"{100 * one['accuracy']:.2f} %"])
    lines = _table(["", "examples/s", "accuracy"], rows)
    if result is not None:
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratios"].items())
        lines += ["", f"Medians of {result['settings']['rounds']} rounds. Ratios: {ratios}."]
    return lines


def growth_lines(results: Mapping[str, Any]) -> list[str]:
    """How time and memory grow."""
    result: Result = results.get("growth")
    rows = []
    for command in ("train", "predict", "plan"):
        if result is None:
            rows.append([f"`{command}`", MISSING, "", ""])
            continue
        unit = "layers" if command == "plan" else "items"
        for row in result[command]["rows"]:
            size = f"{row['items']:,} {unit}"
            rows.append([f"`{command}`", size, f"{row['seconds']:.1f} s", f"{row['peak_rss_bytes'] / 1e6:,.0f} MB"])
    lines = _table(["", "size", "time", "peak memory"], rows)
    if result is not None:
        known = {command: result[command]["exponent"] for command in ("train", "predict", "plan")}
        told = ", ".join(f"`{name}` {value:.2f}" for name, value in known.items() if value is not None)
        lines += ["", f"Exponent of time in size: {told}."]
    return lines


def startup_lines(results: Mapping[str, Any]) -> list[str]:
    """How long commands take that have little to do."""
    result: Result = results.get("startup")
    if result is None:
        return _table(["command", "seconds"], [["all", MISSING]])
    rows = [[f"`{name}`", _spread(one["seconds"], digits=2)] for name, one in result["commands"].items()]
    return _table(["command", "seconds"], rows)


def gpu_lines(results: Mapping[str, Any]) -> list[str]:
    """What was measured on a GPU."""
    rows = []
    for name, what in (("training", TRAINING), ("inference", INFERENCE)):
        gpu = results.get(name, {}).get("gpu", MISSING)
        if gpu == MISSING:
            rows.append([f"`{name}`", MISSING, ""])
            continue
        for contender, one in gpu["contenders"].items():
            words = f"`{name}`: {what.get(contender, contender)}"
            rows.append([words, _spread(one["examples_per_second"]), gpu["machine"]["gpu"]])
    return _table(["", "examples/s", "device"], rows)


TABLES: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "machine": machine_lines,
    "training": training_lines,
    "reaching": reaching_lines,
    "inference": inference_lines,
    "growth": growth_lines,
    "startup": startup_lines,
    "gpu": gpu_lines,
}


def drawn(results: Mapping[str, Any]) -> bytes:
    """Three panels of bars as a PNG: training, seconds to the goal, predicting."""
    from matplotlib.figure import Figure

    from pennyweight.evaluation.drawing import as_png, styled

    def picture() -> Figure:
        figure = Figure(figsize=(8.2, 6.6))
        panels = figure.subplots(3, 1, height_ratios=(len(TRAINING), len(REACHING), len(INFERENCE)))
        _bars(panels[0], "training, examples per second", TRAINING, _rates(results.get("training"), TRAINING))
        reached = {name: _contender(results.get("time_to_accuracy"), name) for name in REACHING}
        seconds = {name: one["seconds"] if one else None for name, one in reached.items()}
        stops = {name: _stop(one) for name, one in reached.items() if one and not one["seconds"]}
        _bars(panels[1], "seconds from a cold start to 90 % (less is better)", REACHING, seconds, notes=stops)
        _bars(panels[2], "predicting, examples per second", INFERENCE, _rates(results.get("inference"), INFERENCE))
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


def _stop(one: Mapping[str, Any]) -> str:
    """Where a contender that does not reach the goal in every run was at its best."""
    return f"stops at {100 * max(run['accuracy'] for run in one['runs']):.1f} %"


def _rates(result: Result, names: Mapping[str, str]) -> dict[str, float | None]:
    found = {name: _contender(result, name) for name in names}
    return {name: one["examples_per_second"]["median"] if one else None for name, one in found.items()}


def _contender(result: Result, name: str) -> Mapping[str, Any] | None:
    one: Mapping[str, Any] | None = result["contenders"].get(name) if result is not None else None
    return one


def _spread(rate: Mapping[str, float], *, digits: int = 0) -> str:
    median, low, high = (f"{rate[key]:,.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}–{high})"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'|'.join('---' for _ in header)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


if __name__ == "__main__":
    main()
