"""The tables of ``docs/speed.md``, line by line; what has no result says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

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
TRAINING_FP32 = TRAINING | {
    "tuned": "Trainer + PEFT, its own flags: grouped by length",
    "expert": "the same, plain attention, no dropout",
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
INFERENCE_FP32 = INFERENCE | {"bf16": "Pennyweight, fp32"}


def machine_lines(results: Mapping[str, Any]) -> list[str]:
    """On what the figures were measured: of every measurement that was made."""
    told: dict[str, list[str]] = {}
    for name, result in results.items():
        if "machine" not in result or {"techniques", "rows", "runs"} & result.keys():  # these tell it one by one
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


def training_lines(results: Mapping[str, Any], measured: str = "training") -> list[str]:
    """Examples per second while training, and what part of the machine's peak that is."""
    result = on_cpu(results, measured)
    form = result["matmul"]["format"] if result else "bf16"
    rows = []
    for name, what in (TRAINING if form == "bf16" else TRAINING_FP32).items():
        one = contender_of(result, name)
        if result is None or one is None:
            rows.append([what, MISSING, "", "", ""])
            continue
        base = result["contenders"]["notebook"]["examples_per_second"]["median"]
        rate = one["examples_per_second"]
        share = result["fractions_of_matmul_peak"][name]["median"]
        loss = f"{one['loss']['before']:.2f} → {one['loss']['after']:.2f}"
        rows.append([what, _spread(rate), f"{rate['median'] / base:.1f}×", f"{100 * share:.0f} %", loss])
    lines = _table(["", "examples/s", "÷ notebook's median", f"of the {form} peak", "held-out loss"], rows)
    if result is not None:
        peak = result["matmul"]
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratios"].items())
        lines += [
            "",
            f"Medians of {result['settings']['rounds']} rounds, quartiles in brackets. Medians of the ratios within a "
            f"round: {ratios}. {peak['peak_is'].capitalize()}, {peak['peak_flops']['median'] / 1e9:,.0f} GFLOP/s.",
        ]
    return lines


def halves_lines(results: Mapping[str, Any]) -> list[str]:
    """Accuracy of adapters everywhere and in the upper half."""
    result: Result = results.get("halves")
    names = {"everywhere": TRAINING["pennyweight"], "upper_half": "Pennyweight, adapters in the upper half"}
    if result is None:
        return _table(["", "accuracy"], [[what, MISSING] for what in names.values()])
    rows = [
        [what, _percent(result["contenders"][name]), ", ".join(f"{100 * one:.2f}" for one in seeds)]
        for name, what in names.items()
        for seeds in [result["contenders"][name]["seeds"]]
    ]
    one = result["difference"]
    return [
        *_table(["", "accuracy", "seed by seed"], rows),
        "",
        f"Difference: {100 * one['mean']:+.2f} points ({100 * one['low']:+.2f} to {100 * one['high']:+.2f}), paired by "
        "test item.",
    ]


def reaching_lines(results: Mapping[str, Any]) -> list[str]:
    """Seconds to the goal, and to somewhat less."""
    result: Result = results.get("time_to_accuracy")
    level = result["settings"]["level"] if result else 0.0
    rows = []
    for name, what in REACHING.items():
        one = contender_of(result, name)
        if one is None:
            rows.append([what, MISSING, "", "", ""])
            continue
        runs = one["runs"]
        seconds = f"{one['seconds']:.0f} s" if one["seconds"] else stop_of(one)
        every = ", ".join(f"{run['seconds']:.0f}" if run["reached"] else "–" for run in runs)
        items = ", ".join(f"{run['items_seen']:,}" for run in runs)
        less = f"{one['seconds_to_level']:.0f} s" if one["seconds_to_level"] else "–"
        rows.append([what, seconds, every, items, less])
    below = f"to {100 * level:.1f} %" if result else "to less"
    lines = _table(["", "median", "seconds, seed by seed", "items seen", below], rows)
    if result is None:
        return lines
    kinds = {
        "ratios": "Seconds to the goal as a share of another's",
        "ratios_at_most": "At most, where the other misses the goal in its whole course",
        "ratios_at_level": f"Seconds {below} likewise",
    }
    told = {words: result[kind] for kind, words in kinds.items() if result[kind]}
    listed = (f"{words}: {', '.join(f'{n} {r:.2f}' for n, r in ratios.items())}." for words, ratios in told.items())
    return [*lines, "", " ".join(listed)]


def inference_lines(results: Mapping[str, Any], measured: str = "inference") -> list[str]:
    """Examples per second while predicting, with the accuracy."""
    result = on_cpu(results, measured)
    rows = []
    for name, what in (INFERENCE if measured == "inference" else INFERENCE_FP32).items():
        one = contender_of(result, name)
        if one is None:
            rows.append([what, MISSING, ""])
            continue
        rows.append([what, _spread(one["examples_per_second"]), f"{100 * one['accuracy']:.2f} %"])
    lines = _table(["", "examples/s", "accuracy"], rows)
    if result is not None:
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratios"].items())
        if measured != "inference":
            ratios = ratios.replace("bf16", "fp32")
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
            words = f"`{name}`: {what.get(contender, contender).replace('fp32', 'bf16')}"
            rows.append([words, _spread(one["examples_per_second"]), gpu["machine"]["gpu"]])
    return _table(["", "examples/s", "device"], rows)


TABLES: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "machine": machine_lines,
    "training": training_lines,
    "training-amx": partial(training_lines, measured="training_amx"),
    "training-fp32": partial(training_lines, measured="training_fp32"),
    "halves": halves_lines,
    "reaching": reaching_lines,
    "inference": inference_lines,
    "inference-fp32": partial(inference_lines, measured="inference_fp32"),
    "growth": growth_lines,
    "startup": startup_lines,
    "gpu": gpu_lines,
}


def stop_of(one: Mapping[str, Any]) -> str:
    """How a contender that does not reach the goal in every run fell short of it."""
    runs = one["runs"]
    reached = sum(run["reached"] for run in runs)
    if reached:
        return f"in {reached} of {len(runs)} runs"
    return f"stops at {100 * max(run['accuracy'] for run in runs):.1f} %"


def on_cpu(results: Mapping[str, Any], name: str) -> Result:
    """One result, where there is more of it than what was measured on a GPU."""
    result: Result = results.get(name)
    return result if result is not None and result.keys() - {"gpu"} else None


def contender_of(result: Result, name: str) -> Mapping[str, Any] | None:
    """What was measured of one contender; none where it was not."""
    one: Mapping[str, Any] | None = result["contenders"].get(name) if result is not None else None
    return one


def _spread(rate: Mapping[str, float], *, digits: int = 0) -> str:
    median, low, high = (f"{rate[key]:,.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}–{high})"


def _percent(one: Mapping[str, float]) -> str:
    return f"{100 * one['accuracy']:.2f} % ({100 * one['low']:.2f}–{100 * one['high']:.2f})"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'|'.join('---' for _ in header)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
