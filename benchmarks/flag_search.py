"""Which flags make Trainer with PEFT fastest: tried stage by stage, the best of a stage carried into the next.

A flag is adopted where its median ratio to the best so far is above `GAIN`. Only flags of Trainer and its collator are
tried, nothing about the model, and none that changes what a step learns, such as gradient clipping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.harness import Contender, Share, alternate, apart, surroundings, tell
from benchmarks.items import Items
from benchmarks.peers import BATCH_SIZE, TUNED, Flags, TrainerLearner, on_this_machine

GAIN = 1.02
LEARNING_RATE = 2e-3
SHORT_BATCHES = 6

Change = Mapping[str, Any]
"""Fields of `Flags` to set; ``arguments`` is added to those that are there."""

STAGES: Mapping[str, Mapping[str, Change]] = {
    "number format": {"bf16 autocast": {"arguments": {"bf16": True}}},
    "padding": {
        "longest of the batch": {"padding": "longest"},
        "longest, group_by_length": {
            "padding": "longest",
            "arguments": {"train_sampling_strategy": "group_by_length"},
        },
    },
    "rounding of the length": {f"pad_to_multiple_of {size}": {"multiple": size} for size in (8, 16, 32)},
    "loading": {
        "1 worker": {"arguments": {"dataloader_num_workers": 1}},
        "2 workers": {"arguments": {"dataloader_num_workers": 2}},
        "no pinned memory": {"arguments": {"dataloader_pin_memory": False}},
    },
    "optimizer": {"adamw_torch, not fused": {"arguments": {"optim": "adamw_torch"}}},
    "torch.compile": {
        "torch_compile": {"arguments": {"torch_compile": True}},
        "torch_compile, pad_to_multiple_of 32": {"multiple": 32, "arguments": {"torch_compile": True}},
    },
}


def search(backbone: str, items: Items, held_out: Items, *, rounds: int) -> dict[str, Any]:
    """Walk the stages; what was tried, what it gave, and the flags that won."""
    best, stages = Flags(), []
    for title, changes in STAGES.items():
        candidates = {name: changed(best, change) for name, change in changes.items()}
        stage, winner = _stage(title, best, candidates, backbone, items, held_out, rounds=rounds)
        stages.append(stage)
        best = candidates[winner] if winner else best
    found = _described(best)
    used = _described(on_this_machine(TUNED))
    if found != used:
        tell(f"the flags found, {found}, are not those that `benchmarks.peers.TUNED` holds for this machine: {used}")
    return {
        "benchmark": "training, flags of Trainer",
        **surroundings(),
        "settings": {"items": len(items), "batch_size": BATCH_SIZE, "rounds": rounds, "gain": GAIN},
        "stages": stages,
        "found": found,
        "used": used,
    }


def changed(flags: Flags, change: Change) -> Flags:
    """Flags with some changed."""
    arguments = {**flags.arguments, **change.get("arguments", {})}
    return replace(flags, **{**change, "arguments": arguments})


def _stage(
    title: str,
    best: Flags,
    candidates: Mapping[str, Flags],
    backbone: str,
    items: Items,
    held_out: Items,
    *,
    rounds: int,
) -> tuple[dict[str, Any], str | None]:
    """The candidates of a stage against the best so far, in turns; its record, and the candidate that won."""
    tell(f"stage: {title}")
    common = {"backbone": backbone, "items": items, "held_out": held_out, "learning_rate": LEARNING_RATE}
    every = {"as before": best, **candidates}
    with apart({name: (TrainerLearner, {**common, "flags": flags}) for name, flags in every.items()}) as learners:
        failed: dict[str, str] = {}
        turns: dict[str, Contender] = {}
        for name, learner in learners.items():
            turn = _turn(learner, every[name])
            try:
                turn()  # warms up, compiles
            except RuntimeError as error:
                failed[name] = str(error).strip().splitlines()[-1]
                continue
            turns[name] = turn
        measured = alternate(turns, rounds, say=tell)
    ratios = {name: measured.ratio(name, "as before") for name in turns if name != "as before"}
    tried = {
        name: {"ratio_to_before": ratios[name], "examples_per_second": measured.spread(name)} for name in ratios
    } | {name: {"failed": reason} for name, reason in failed.items()}
    fastest = max(ratios, key=lambda name: ratios[name]["median"], default=None)
    winner = fastest if fastest is not None and ratios[fastest]["median"] > GAIN else None
    before = measured.spread("as before")
    tell(f"stage {title}: {winner or 'nothing'} adopted")
    return {"stage": title, "before": before, "tried": tried, "adopted": winner}, winner


def _turn(learner: Any, flags: Flags) -> Contender:
    """A pass over the items; of fixed padding, where every item costs the same, a few batches."""

    def turn() -> Share:
        share: Share = learner.call("learn", SHORT_BATCHES if flags.padding == "fixed" else None)
        return share

    return turn


def _described(flags: Flags) -> dict[str, Any]:
    return {"padding": flags.padding, "pad_to_multiple_of": flags.multiple, **flags.arguments}
