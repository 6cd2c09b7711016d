"""What commands print for people on stdout: the plan, the result of a run, an evaluation, the cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pennyweight.budget.plan import Plan, PlannedMatrix
    from pennyweight.cache import Cache, Usage
    from pennyweight.evaluation.agreement import Agreement
    from pennyweight.evaluation.groups import Groups
    from pennyweight.evaluation.judged import AnyMetrics
    from pennyweight.evaluation.metrics import ClassMetrics, Interval
    from pennyweight.manifest import Int8Record
    from pennyweight.pipeline.judging.judgement import Judgement
    from pennyweight.pipeline.outcome import Outcome

_MOST_ROWS, _WEAKEST = 100, 30
"""Most classes that are all printed, and how many are where there are more."""
_WIDTH = 100
"""Columns of a table of scores where no terminal says how many there are: names are not to be cut in a log file."""


def plan_table(plan: Plan, *, budgeted: bool = True) -> None:
    """A plan by kind of matrix, with its sums, its size and its work; without a budget where nobody gave one."""
    most, of = "at most " if plan.undecided else "", f" of {plan.budget:,}" if budgeted else ""
    title = f"{plan.backbone}: {most}{plan.trainable:,} trainable{of}"
    table = Table(title=title, title_justify="left")
    for name in ("matrix", "layers"):
        table.add_column(name)
    for name in ("in → out", "rank", "alpha", "parameters"):
        table.add_column(name, justify="right")
    for (name, shape, rank, alpha), matrices in _by_kind(plan.matrices).items():
        layers = _ranges([matrix.layer for matrix in matrices if matrix.layer is not None])
        count = sum(matrix.parameters for matrix in matrices)
        table.add_row(name, layers, shape, str(rank) if rank else "", f"{alpha:g}" if rank else "", f"{count:,}")
    if plan.prompt:
        shape = f"{plan.prompt.length} × {plan.prompt.width}"
        table.add_row("prompt before every text", "", shape, "", "", f"{plan.prompt.parameters:,}")
    table.add_section()
    for group, count in plan.groups.items():
        table.add_row(group, "", "", "", "", f"{count:,} ({count / plan.trainable:.1%})")
    console = Console(highlight=False, markup=False)
    console.print(table)
    _plan_remarks(plan, console)
    if budgeted and not plan.undecided:
        _room_remark(plan, console)


def _plan_remarks(plan: Plan, console: Console) -> None:
    work = plan.work
    if plan.undecided:
        console.print(
            f"ranks follow from gradients when training begins, at most {plan.undecided:,} parameters for them; "
            f"`pennyweight allot` finds them alone",
            soft_wrap=True,
        )
        return
    console.print(
        f"saved size {plan.adapter_bytes / 1e6:.2f} MB · per token at {work.length} tokens: "
        f"{work.forward / 1e6:,.0f} MFLOP forward, {work.backward / 1e6:,.0f} MFLOP backward",
        soft_wrap=True,
    )
    formats = ", ".join(f"{size_words(size)} in {name}" for name, size in plan.backbone_bytes.items())
    state = "" if plan.optimizer_bytes is None else f" · optimizer {size_words(plan.optimizer_bytes)}"
    console.print(f"in memory: backbone {formats}{state}", soft_wrap=True)


def _room_remark(plan: Plan, console: Console) -> None:
    room = plan.budget - plan.trainable
    if room >= 0:
        pairs = any(matrix.rank for matrix in plan.matrices)
        largest = f"; largest uniform rank for these matrices: {plan.largest_rank}" if pairs else ""
        console.print(f"within budget, {room:,} to spare{largest}")


def metrics_table(judgement: Judgement) -> None:
    """An evaluation: the head figures, then one line per class or label, then one per group."""
    metrics = judgement.metrics
    console = _wide_console()
    skipped = f", {judgement.skipped:,} rows skipped" if judgement.skipped else ""
    if judgement.unmapped:
        skipped += f", {sum(judgement.unmapped.values()):,} left out by --map ({', '.join(judgement.unmapped)})"
    console.print(f"on {judgement.evaluated_on}{skipped}", soft_wrap=True)
    for line in _score_lines(metrics):
        console.print(line, soft_wrap=True)
    if judgement.compared is not None:
        compared = judgement.compared
        console.print(_cost(compared.precision, compared.reference, compared.agreement), soft_wrap=True)
    console.print(_class_table(metrics))
    if judgement.groups is not None:
        console.print(_group_table(judgement.groups))
    if judgement.report is not None:
        console.print(f"report: {judgement.report}", soft_wrap=True)


def _wide_console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_WIDTH)


def _score_lines(metrics: AnyMetrics) -> list[str]:
    macro = f"macro F1 {_percent(metrics.macro_f1)}"
    from pennyweight.evaluation.label_results import LabelMetrics  # numpy, which planning does without

    if isinstance(metrics, LabelMetrics):
        return [
            f"micro F1 {_percent(metrics.micro_f1)} · {macro} · ECE {metrics.ece:.4f}",
            f"all labels right {_percent(metrics.accuracy)} · Hamming loss {metrics.hamming_loss:.4f} · "
            f"ranking average precision {metrics.ranking_average_precision:.4f} · coverage {metrics.coverage:.2f}",
        ]
    return [f"accuracy {_percent(metrics.accuracy)} · {macro} · ECE {metrics.ece:.4f}"]


def _class_table(metrics: AnyMetrics) -> Table:
    """One line per class, of several labels with the threshold of each; of very many classes the weakest."""
    from pennyweight.evaluation.label_results import OneLabel

    first, extra = ("label", ("threshold",)) if metrics.several else ("class", ())
    table = Table()
    rows: list[ClassMetrics | OneLabel] = [*metrics.per_class]
    if len(rows) > _MOST_ROWS:
        table.title, table.title_justify = f"the {_WEAKEST} weakest of {len(rows):,}", "left"
        rows = sorted(rows, key=lambda one: one.f1.value)[:_WEAKEST]
    for name in (first, "items", *extra, "precision", "recall", "F1 (95 % interval)"):
        table.add_column(name, justify="left" if name == first else "right")
    for one in rows:
        own = (f"{one.threshold:.3f}",) if isinstance(one, OneLabel) else ()
        scores = (f"{one.precision:.4f}", f"{one.recall:.4f}", _percent(one.f1))
        table.add_row(one.label, f"{one.support:,}", *own, *scores)
    return table


def _group_table(found: Groups) -> Table:
    """One line per group, the worst first."""
    several = any(one.micro_f1 is not None for one in found.groups)
    accuracy = "all labels right" if several else "accuracy"
    table = Table()
    for name in (found.column, "items", *(("micro F1",) if several else ()), "macro F1", f"{accuracy} (95 % interval)"):
        table.add_column(name, justify="left" if name == found.column else "right")
    for one in found.groups:
        micro = () if one.micro_f1 is None else (f"{100 * one.micro_f1:.2f} %",)
        table.add_row(one.group, f"{one.examples:,}", *micro, f"{100 * one.macro_f1:.2f} %", _percent(one.accuracy))
    return table


def int8_summary(folder: Path, record: Int8Record) -> None:
    """What int8 costs a classifier, and where that is kept."""
    console = Console(highlight=False, markup=False)
    console.print(_cost("int8", record.reference, record), soft_wrap=True)
    console.print(f"measured on {record.data}, {record.examples:,} items", soft_wrap=True)
    console.print(f"kept in {folder / 'classifier.json'}", soft_wrap=True)


def training_summary(outcome: Outcome) -> None:
    """The end of a training run: where, how good, how heavy, and the report."""
    console = _wide_console()
    plan, judgement = outcome.plan, outcome.judgement
    assert judgement is not None
    skipped = f" ({judgement.skipped:,} rows skipped)" if judgement.skipped else ""
    console.print(f"classifier: {outcome.folder}", soft_wrap=True)
    console.print(f"trained {outcome.fitted.steps:,} steps in {outcome.fitted.seconds:.1f} s")
    metrics = judgement.metrics
    name, score = "accuracy", metrics.accuracy
    from pennyweight.evaluation.label_results import LabelMetrics  # numpy, which planning does without

    if isinstance(metrics, LabelMetrics):
        name, score = "micro F1", metrics.micro_f1
    console.print(
        f"{name} {_percent(score)} on {judgement.evaluated_on}{skipped}, "
        f"with {plan.trainable:,} of {plan.budget:,} trainable parameters",
        soft_wrap=True,
    )
    if judgement.groups is not None:
        console.print(_group_table(judgement.groups))
    console.print(f"report: {judgement.report}", soft_wrap=True)


def cache_table(cache: Cache, usage: Mapping[str, Usage]) -> None:
    """The cache: its folder and limit, then one line per kind of content."""
    from pennyweight.cache import KINDS

    console = Console(highlight=False, markup=False)
    console.print(f"cache: {cache.folder}", soft_wrap=True)
    taken = size_words(sum(kind.size for kind in usage.values()))
    console.print(f"{taken} of {size_words(cache.limit)}" if cache.limit else cache.trouble or "off: its limit is 0")
    if not usage:
        return
    table = Table()
    for name in ("kind", "entries", "size", "oldest use", "newest use", "what"):
        table.add_column(name, justify="right" if name in ("entries", "size") else "left")
    for kind, used in usage.items():
        times = (f"{datetime.fromtimestamp(one):%Y-%m-%d %H:%M}" for one in (used.oldest, used.newest))
        table.add_row(kind, f"{used.entries:,}", size_words(used.size), *times, KINDS.get(kind, ""))
    console.print(table)


def size_words(size: int) -> str:
    """Bytes as a person reads them: ``1.2 GB``, in units of a thousand."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} bytes"


def _cost(precision: str, reference: str, found: Agreement | Int8Record) -> str:
    return (
        f"{precision} {100 * found.accuracy:.2f} % right, {reference} {100 * found.reference_accuracy:.2f} % "
        f"({100 * found.difference:+.2f} points), the same label for {100 * found.agreement:.2f} %"
    )


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.2f} % ({100 * interval.low:.2f}–{100 * interval.high:.2f})"


def _by_kind(matrices: tuple[PlannedMatrix, ...]) -> dict[tuple[str, str, int, float], list[PlannedMatrix]]:
    """Matrices that differ in nothing but their layer, together; what is no plain pair of factors is named so."""
    kinds: dict[tuple[str, str, int, float], list[PlannedMatrix]] = defaultdict(list)
    for matrix in matrices:
        inside = matrix.name.split(".")
        if matrix.layer is not None:
            inside = inside[inside.index(str(matrix.layer)) + 1 :]
        kind = "" if matrix.kind == "lora" else f" ({'inputs' if matrix.scales_inputs else 'outputs'} scaled)"
        if matrix.kind in ("dora", "adalora"):
            kind = f" ({matrix.kind})"
        kinds[".".join(inside) + kind, f"{matrix.fan_in} → {matrix.fan_out}", matrix.rank, matrix.alpha].append(matrix)
    return kinds


def _ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0–2, 5``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]}–{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)
