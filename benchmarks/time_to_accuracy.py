"""Seconds from a cold start of the process to 90.0 % on AG News' test items, learning from the first 10,000.

``python -m benchmarks.time_to_accuracy [--quick] [--json] [--only NAME]`` with PENNYWEIGHT_DATA naming the folder of
data sets. Every run is a fresh process. The clock starts when the process is asked for and stops while the test items
are predicted, for every contender alike; everything else counts: imports, reading, tokenising, loading, learning. Each
contender learns at the rate and over the epochs of `SETTINGS`, which ``--search`` finds. Finished runs are kept in
``benchmarks/results/time_to_accuracy.json`` and not repeated; ``--again`` replaces them one by one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.harness import RESULTS, data_folder, git_state, surroundings, tell
from benchmarks.reaching import GOAL, RUNNERS, Setting, Task
from pennyweight.files import write_json

NAME = "time_to_accuracy"
PATH = RESULTS / f"{NAME}.json"
RATES_PATH = RESULTS / f"{NAME}_rates.json"
ITEMS = 10_000
LEVEL = 0.895
"""An accuracy below the goal that is told beside it: curves are flat at the goal, so that the luck of a seed counts."""

# The rate as `--search` finds it: fewest items to the goal. Whose steps are the same mathematics share a row of the
# search: notebook and tuned (dropout on), pennyweight (dropout off). Three epochs: tuned and upper_half miss the goal
# in two, notebook makes the steps of tuned. The rate of full was not searched for.
SETTINGS: Mapping[str, Setting] = {
    "notebook": Setting(learning_rate=2e-3, epochs=3),
    "tuned": Setting(learning_rate=2e-3, epochs=3),
    "pennyweight": Setting(learning_rate=2e-3, epochs=2),
    "upper_half": Setting(learning_rate=2e-3, epochs=3),
    "full": Setting(learning_rate=1e-4, epochs=2),
    "tfidf": Setting(learning_rate=0.0, epochs=1),
}
SEEDS: Mapping[str, tuple[int, ...]] = {
    "notebook": (0,),
    "tuned": (0,),
    "pennyweight": (0, 1, 2),
    "upper_half": (0, 1, 2),
    "full": (0,),
    "tfidf": (0,),
}
RATIOS = (
    ("pennyweight", "notebook"),
    ("pennyweight", "tuned"),
    ("pennyweight", "full"),
    ("upper_half", "notebook"),
    ("upper_half", "tuned"),
)
GRIDS: Mapping[str, tuple[tuple[float, ...], tuple[int, ...]]] = {
    "dropout": ((2e-3, 4e-3), (2, 3)),
    "pennyweight": ((2e-3, 4e-3), (2, 3)),
    "upper_half": ((2e-3, 4e-3), (2, 3)),
    "full": ((1e-4, 2e-4), (2,)),
}


def main() -> None:
    """Run what is not run yet, then print and keep; in a child, run one contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few items and a low goal, to see that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--only", choices=[*SETTINGS, "dropout"], action="append", help="this contender alone")
    parser.add_argument(
        "--again", action="store_true", help="run what was run before, too; without --only on any machine"
    )
    parser.add_argument("--search", action="store_true", help="look for the learning rates instead")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_here(json.loads(options.child))))
        return
    content = search(options) if options.search else compare(options)
    if options.json:
        print(json.dumps(content))
    else:
        print("\n".join(search_lines(content) if options.search else lines(content)))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All contenders, or those asked for; finished runs of the same machine are taken from the results."""
    kept = {} if options.quick or not PATH.exists() else json.loads(PATH.read_text(encoding="utf-8"))
    if options.again and not options.only and differing(kept):
        kept = {}
    runs: dict[str, list[dict[str, Any]]] = {name: one["runs"] for name, one in kept.get("contenders", {}).items()}
    content = kept or summarise(runs)
    for name in options.only or SETTINGS:
        if name not in SETTINGS:
            sys.exit(f"benchmarks.{NAME}: --only {name} goes with --search")
        for seed in SEEDS[name][:1] if options.quick else SEEDS[name]:
            finished = any(one["seed"] == seed and one["setting"] == vars(SETTINGS[name]) for one in runs.get(name, []))
            if finished and not options.again:
                tell(f"{name}, seed {seed}: kept from before")
                continue
            require_same_machine(kept)
            run = run_apart(task_of(name, SETTINGS[name], seed=seed, quick=options.quick))
            tell(f"{name}, seed {seed}: {told(run)}")
            run["commit"] = (git_state() or {}).get("commit")
            others = [one for one in runs.get(name, []) if one["setting"] == run["setting"] and one["seed"] != seed]
            runs[name] = [*others, run]
            content = summarise(runs)
            if not options.quick:
                write_json(PATH, content)
    return content


def require_same_machine(kept: Mapping[str, Any]) -> None:
    """End the program before it compares runs of two machines, or of other versions."""
    other = differing(kept)
    if other:
        sys.exit(f"benchmarks.{NAME}: {PATH.name} is of another {' and other '.join(other)}; --again measures all anew")


def differing(kept: Mapping[str, Any]) -> list[str]:
    """What of the surroundings of a result, if there is one, is not as it is here."""
    now = surroundings()
    return [key for key in ("machine", "versions") if kept and kept[key] != now[key]]


def task_of(name: str, setting: Setting, *, seed: int, quick: bool, dropout: bool = False) -> Task:
    """What a child has to do."""
    return Task(
        contender=name,
        data=str(data_folder()),
        items=96 if quick else ITEMS,
        test_items=48 if quick else None,
        goal=0.2 if quick else GOAL,
        setting=setting,
        seed=seed,
        dropout=dropout,
    )


def run_apart(task: Task) -> dict[str, Any]:
    """One run in a fresh process, with an empty cache of its own."""
    with tempfile.TemporaryDirectory(prefix="pennyweight-benchmark-") as cache:
        environment = {**os.environ, "PENNYWEIGHT_CACHE": cache}
        command = [sys.executable, "-m", f"benchmarks.{NAME}", "--child"]
        given = json.dumps({"task": task.as_dict(), "begun": time.time()})
        done = subprocess.run([*command, given], stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task.contender}: its process ended with code {done.returncode}; its words are above")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run_here(given: Mapping[str, Any]) -> dict[str, Any]:
    """One run in this process, which was asked for at ``begun``, in seconds since the epoch."""
    task = Task.from_dict(given["task"])
    stdout = os.dup(1)
    os.dup2(2, 1)  # what libraries print is not the answer
    try:
        return RUNNERS[task.contender](task, given["begun"])
    finally:
        os.dup2(stdout, 1)


def summarise(runs: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The result of all runs so far."""
    medians = {name: median_seconds(done) for name, done in runs.items()}
    sooner = {name: median_seconds(done, level=LEVEL) for name, done in runs.items()}
    courses = {name: median_course(done) for name, done in runs.items() if medians[name] is None}
    return {
        "benchmark": NAME,
        **surroundings(),
        "settings": {"ratios_are": "seconds, so less is better", "level": LEVEL},
        "ratios": ratios_of(medians, medians),
        "ratios_at_most": ratios_of(medians, courses),
        "ratios_at_level": ratios_of(sooner, sooner),
        "contenders": {
            name: {
                "seconds": medians[name],
                "seconds_to_level": sooner[name],
                "runs": sorted(done, key=lambda run: int(run["seed"])),
            }
            for name, done in runs.items()
        },
    }


def ratios_of(ours: Mapping[str, float | None], theirs: Mapping[str, float | None]) -> dict[str, float]:
    """What is known of `RATIOS`, as ``name/other``."""
    known = ((name, other, ours.get(name), theirs.get(other)) for name, other in RATIOS)
    return {f"{name}/{other}": mine / its for name, other, mine, its in known if mine and its}


def median_seconds(runs: list[dict[str, Any]], *, level: float | None = None) -> float | None:
    """Median over the seeds of the seconds to the goal, or to a lower accuracy; none where a run did not reach it."""
    found = [seconds_to(run, run["goal"] if level is None else level) for run in runs]
    reached = [one for one in found if one is not None]
    return float(statistics.median(reached)) if reached and len(reached) == len(found) else None


def seconds_to(run: Mapping[str, Any], level: float) -> float | None:
    """What the clock showed at the first look that saw so much accuracy; none where no look did."""
    return next((float(seconds) for seconds, _, accuracy in run["curve"] if accuracy >= level), None)


def median_course(runs: list[dict[str, Any]]) -> float | None:
    """Median over the seeds of the seconds of the whole course: the least that a goal beyond it would take."""
    return float(statistics.median(run["curve"][-1][0] for run in runs)) if runs else None


def search(options: argparse.Namespace) -> dict[str, Any]:
    """Fewest items to the goal over the grid of rates and epochs; ``dropout`` stands for notebook and tuned."""
    old = json.loads(RATES_PATH.read_text(encoding="utf-8")) if RATES_PATH.exists() and not options.quick else {}
    forgotten = (options.only or GRIDS) if options.again else ()
    tried: dict[str, list[dict[str, Any]]] = {
        name: done for name, done in old.get("tried", {}).items() if name not in forgotten
    }
    content: dict[str, Any] = {"benchmark": f"{NAME}, learning rates", **surroundings(), "tried": tried}
    for name in options.only or GRIDS:
        if name not in GRIDS:
            sys.exit(f"benchmarks.{NAME}: --search knows {', '.join(GRIDS)}")
        rates, epochs = GRIDS[name]
        grid = [Setting(rate, count) for count, rate in itertools.product(epochs, rates)]
        for setting in grid[:1] if options.quick else grid:
            done = tried.get(name, [])
            if any(one["setting"] == vars(setting) for one in done) or reached_sooner(done, setting):
                continue
            contender = "pennyweight" if name == "dropout" else name
            task = task_of(contender, setting, seed=0, quick=options.quick, dropout=name == "dropout")
            run = run_apart(replace(task, give_up=fewest_items(tried.get(name, []))))
            tell(f"{name}, {vars(setting)}: {told(run)}")
            tried.setdefault(name, []).append(run)
            content["best"] = {name: best_of(done) for name, done in tried.items()}
            if not options.quick:
                write_json(RATES_PATH, content)
    content["best"] = {name: best_of(done) for name, done in tried.items()}
    return content


def reached_sooner(runs: list[dict[str, Any]], setting: Setting) -> bool:
    """Whether a shorter course reached the goal: a longer one, whose rate stays high for longer, is then not tried."""
    return any(run["reached"] and int(run["setting"]["epochs"]) < setting.epochs for run in runs)


def fewest_items(runs: list[dict[str, Any]]) -> int | None:
    """Items to the goal of the best run; who needs more cannot win any more. None where none reached it."""
    return min((int(run["items_seen"]) for run in runs if run["reached"]), default=None)


def best_of(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The setting with the fewest items to the goal; none where none reached it."""
    reached = [run for run in runs if run["reached"]]
    return min(reached, key=lambda run: int(run["items_seen"]))["setting"] if reached else None


def told(run: Mapping[str, Any]) -> str:
    """One run in words."""
    outcome = "" if run["reached"] else "goal not reached, best "
    return (
        f"{outcome}{100 * run['accuracy']:.2f} % after {run['seconds']:.1f} s and {run['items_seen']:,} items "
        f"(predicting the test items took another {run['predicting_seconds']:.0f} s)"
    )


def lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    listed = [f"{name}: {told(run)}" for name, one in content["contenders"].items() for run in one["runs"]]
    kinds = {"ratios": "", "ratios_at_most": "at most ", "ratios_at_level": f"to {100 * LEVEL:.1f} %, "}
    return listed + [
        f"{name}: {words}{ratio:.3f} of the seconds"
        for kind, words in kinds.items()
        for name, ratio in content[kind].items()
    ]


def search_lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    return [f"{name}: {setting or 'none reached the goal'}" for name, setting in content["best"].items()]


if __name__ == "__main__":
    main()
