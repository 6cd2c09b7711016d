"""Training speed: Pennyweight against Trainer with PEFT, from the notebook way to everything that one can set.

``python -m benchmarks.training [--quick] [--json]`` with PENNYWEIGHT_DATA naming the folder of data sets. Same weights,
same items of AG News, same batch size, LoRA rank 8 on query and value, the architecture's stock head, AdamW. Each
contender lives in a process of its own; they take turns. A turn is a pass over the items, loading and collating
included, starting up left out; of ``notebook``, whose every item is padded to the same length, it is six batches.
Before any turn each contender takes the same number of steps, and its loss on held-out items is recorded before and
after: nobody is fast by not learning. The result is written to ``benchmarks/results/training.json``. Where the
machine has no bf16 instructions all compute in fp32, the peak is that of fp32, and it is ``training_fp32.json``.

``--search`` tries the flags of Trainer that might make it faster on a quarter of the items, and keeps what it finds
beside the result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contenders import PennyweightLearner, recipe_for, upper_half
from benchmarks.flag_search import search
from benchmarks.harness import (
    Apart,
    Contender,
    Measured,
    alternate,
    apart,
    backbone_folder,
    data_folder,
    empty_cache,
    keep,
    kept_as,
    layers_of,
    surroundings,
    tell,
)
from benchmarks.items import Items, agnews, agnews_file
from benchmarks.peak import Multiplier, Product, best_of, describe_peak, peak_of, products
from benchmarks.peers import BATCH_SIZE, EXPERT, NOTEBOOK, TARGETS, TUNED, Flags, TrainerLearner, on_this_machine

NAME = "training"
LEARNING_RATE = 2e-3
NOTEBOOK_BATCHES = 6
PENNYWEIGHT = ("pennyweight", "all_linear", "upper_half")
TRAINERS: Mapping[str, Flags] = {
    "notebook": NOTEBOOK,
    "tuned": TUNED,
    "expert": EXPERT,
    "expert_uncast": replace(EXPERT, input_cast=False),
}
RATIOS = (
    ("pennyweight", "notebook"),
    ("pennyweight", "tuned"),
    ("pennyweight", "expert"),
    ("pennyweight", "expert_uncast"),
    ("upper_half", "notebook"),
    ("upper_half", "tuned"),
    ("all_linear", "pennyweight"),
)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    items: int
    held_out: int
    rounds: int


FULL = Size(items=1024, held_out=512, rounds=7)
QUICK = Size(items=64, held_out=64, rounds=1)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--search", action="store_true", help="try Trainer's flags instead")
    parser.add_argument("--backbone", default="minilm", help="alias or folder (default: minilm)")
    parser.add_argument("--rounds", type=int, help=f"turns of each contender (default: {FULL.rounds})")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    size = replace(size, rounds=options.rounds or size.rounds)
    data = data_folder()
    items, held_out = agnews(data, "train", count=size.items), agnews(data, "test", count=size.held_out)
    if options.search:
        content = search(backbone_folder(options.backbone), items.every(4), held_out, rounds=size.rounds)
    else:
        with empty_cache():
            made = factories(options.backbone, data, items, held_out)
            content = measure(options.backbone, made, items=len(items), rounds=size.rounds)
    if not options.quick:
        keep(kept_as(f"{NAME}_flags" if options.search else NAME), content)
    if options.json:
        print(json.dumps(content))
    elif not options.search:
        print("\n".join(lines(content)))


@dataclass(frozen=True)
class Gathered:
    """What was measured, before it is put into words."""

    items: int
    described: Mapping[str, Mapping[str, Any]]
    losses: Mapping[str, Mapping[str, float]]
    needed: Mapping[str, int]
    """FLOPs of a pass, of Pennyweight's contenders."""
    tried: tuple[Product, ...]
    measured: Measured


def measure(backbone: str, made: Mapping[str, Any], *, items: int, rounds: int) -> dict[str, Any]:
    """All contenders and the machine's matrix products, in turns."""
    with apart(made) as learners:
        losses = {name: warm_up(name, learner) for name, learner in learners.items()}
        described = {name: learner.call("describe") for name, learner in learners.items()}
        require_alike(described)
        ours = described["pennyweight"]
        tried = products(rows=round(BATCH_SIZE * ours["tokens_mean"]), hidden=ours["hidden"], inner=ours["inner"])
        turns: dict[str, Contender] = {name: turn_of(name, learner) for name, learner in learners.items()}
        turns |= {one.name: Multiplier(one) for one in tried}
        needed = {name: learners[name].call("needed_per_pass") for name in PENNYWEIGHT}
        measured = alternate(turns, rounds, say=tell)
    settings = {
        "backbone": backbone,
        "items": items,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "notebook_batches_per_turn": NOTEBOOK_BATCHES,
        "rounds": rounds,
    }
    gathered = Gathered(items, described, losses, needed, tried, measured)
    return {"benchmark": NAME, **surroundings(), "settings": settings, **report(gathered)}


def report(gathered: Gathered) -> dict[str, Any]:
    """Ratios, fractions of the peak, and every contender."""
    measured, tried = gathered.measured, gathered.tried
    per_item = {name: flops / gathered.items for name, flops in gathered.needed.items()}
    per_item |= dict.fromkeys(TRAINERS, per_item["pennyweight"])
    fractions = {name: fraction(measured, name, per_item[name], peak_of(measured, tried)) for name in per_item}
    ratios = {f"{name}/{other}": measured.ratio(name, other) for name, other in RATIOS}
    return {
        "ratios": {name: ratio["median"] for name, ratio in ratios.items()},
        "ratio_spread": ratios,
        "fraction_of_matmul_peak": fractions["pennyweight"]["median"],
        "fractions_of_matmul_peak": fractions,
        "fraction_of_best_shape": fraction(measured, "pennyweight", per_item["pennyweight"], best_of(measured, tried)),
        "matmul": describe_peak(measured, tried),
        "contenders": {
            name: {
                "examples_per_second": measured.spread(name),
                "needed_gflop_per_example": per_item[name] / 1e9,
                "loss": gathered.losses[name],
                **described,
            }
            for name, described in gathered.described.items()
        },
    }


def factories(backbone: str, data: Path, items: Items, held_out: Items) -> dict[str, Any]:
    """How each contender is made, in its own process."""
    folder, common = backbone_folder(backbone), {"held_out": held_out}
    given = {**common, "backbone": folder, "items": items, "learning_rate": LEARNING_RATE}
    trainers = {name: (TrainerLearner, {**given, "flags": on_this_machine(flags)}) for name, flags in TRAINERS.items()}
    targets: dict[str, tuple[str, ...] | str] = {
        "pennyweight": TARGETS,
        "all_linear": "all-linear",
        "upper_half": upper_half(layers_of(backbone)),
    }
    recipes = {
        name: recipe_for(
            backbone, agnews_file(data, "train"), items=len(items), learning_rate=LEARNING_RATE, targets=targets[name]
        )
        for name in PENNYWEIGHT
    }
    return trainers | {name: (PennyweightLearner, {**common, "recipe": recipe}) for name, recipe in recipes.items()}


def warm_up(name: str, learner: Apart) -> dict[str, float]:
    """One pass over all items, not timed; the loss on held-out items before and after."""
    before = learner.call("loss")
    share = learner.call("learn")
    loss = {"before": before, "after": learner.call("loss"), "steps": -(-int(share.work) // BATCH_SIZE)}
    tell(f"{name}: held-out loss {loss['before']:.4f}, after {loss['steps']} steps {loss['after']:.4f}")
    return loss


def turn_of(name: str, learner: Apart) -> Contender:
    """A turn of a contender."""
    return lambda: learner.call("learn", NOTEBOOK_BATCHES if name == "notebook" else None)


def require_alike(described: Mapping[str, Mapping[str, Any]]) -> None:
    """All that are compared on the same adapters train as many parameters."""
    counts = {name: described[name]["trainable"] for name in (*TRAINERS, "pennyweight")}
    if len(set(counts.values())) != 1:
        raise RuntimeError(f"contenders train different numbers of parameters: {counts}")


def fraction(measured: Measured, name: str, flops_per_item: float, peak: Product) -> dict[str, float]:
    """Needed FLOPs per second as a fraction of the peak, round by round."""
    spread = measured.ratio(name, peak.name)
    return {key: value if key == "n" else value * flops_per_item for key, value in spread.items()}


def lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    told = [
        f"{name}: {one['examples_per_second']['median']:.1f} examples/s "
        f"({one['examples_per_second']['low']:.1f}–{one['examples_per_second']['high']:.1f}), "
        f"{100 * content['fractions_of_matmul_peak'][name]['median']:.0f} % of the matmul peak"
        for name, one in content["contenders"].items()
    ]
    told += [f"{name}: {ratio:.2f}×" for name, ratio in content["ratios"].items()]
    peak = content["matmul"]
    return [*told, f"{peak['peak_is']}: {peak['peak_flops']['median'] / 1e9:.0f} GFLOP/s"]


if __name__ == "__main__":
    main()
