"""How long a command takes that has next to nothing to do: ``--help``, ``plan``, ``predict`` of one line, an import.

``python -m benchmarks.startup [--quick] [--json]``. Every run is a process of its own, timed from its start to its end;
the commands take turns, round after round, after one round that is not counted. The result is written to
``benchmarks/results/startup.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, Share, alternate, spread, surroundings, tell
from benchmarks.processes import PENNYWEIGHT, run, small_classifier
from pennyweight.files import write_json
from pennyweight.recipe_files import shipped_recipes

NAME = "startup"
ROUNDS = 9
QUICK_ROUNDS = 2
TARGETS = {"--help": 0.4, "plan": 4.0}
"""Most seconds that a command may take, by its first word."""


def main() -> None:
    """Measure, print, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds, to see that it works; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    content = measure(QUICK_ROUNDS if options.quick else ROUNDS)
    if not options.quick:
        write_json(RESULTS / f"{NAME}.json", content)
    if options.json:
        print(json.dumps(content))
        return
    for name, row in content["commands"].items():
        seconds, limit = row["seconds"], row["target"]
        target = f"  (target {limit} s)" if limit else ""
        print(f"{name:24} {seconds['median']:6.3f} s  [{seconds['low']:.3f}, {seconds['high']:.3f}]{target}")


def measure(rounds: int) -> dict[str, Any]:
    """Run every command ``rounds`` times and once more: seconds as median and quartiles, memory as the most seen."""
    with tempfile.TemporaryDirectory(prefix="pennyweight-startup-") as made:
        tell("training a small classifier")
        commands = commands_with(small_classifier(Path(made) / "classifier"), Path(made))
        peaks = dict.fromkeys(commands, 0)
        contenders = {name: partial(take_turn, name, command, peaks) for name, command in commands.items()}
        for turn in contenders.values():
            turn()
        measured = alternate(contenders, rounds, say=lambda _rates: None)
    rows = {
        name: {
            "seconds": spread([share.seconds for share in measured.shares[name]]),
            "target": TARGETS.get(name.split()[0]),
            "peak_rss_bytes": peaks[name],
        }
        for name in commands
    }
    return {"benchmark": NAME, **surroundings(), "rounds": rounds, "commands": rows}


def commands_with(classifier: Path, folder: Path) -> dict[str, list[str]]:
    """What is run, by the name under which it is reported."""
    line = folder / "line.csv"
    line.write_text("text\nThe ferry to the island runs again from Monday.\n", encoding="utf-8")
    predict = ["predict", str(classifier), "--data", str(line), "--out", str(folder / "predicted.csv")]
    return {
        "import pennyweight": [sys.executable, "-c", "import pennyweight"],
        "--help": [*PENNYWEIGHT, "--help"],
        **{f"plan {name}": [*PENNYWEIGHT, "plan", name] for name in shipped_recipes()},
        "predict one line": [*PENNYWEIGHT, *predict],
    }


def take_turn(name: str, command: Sequence[str], peaks: dict[str, int]) -> Share:
    """Run a command once and remember its peak memory."""
    ran = run(command)
    peaks[name] = max(peaks[name], ran.peak_rss_bytes)
    tell(f"{name}: {ran.seconds:.3f} s")
    return Share(1.0, ran.seconds)


if __name__ == "__main__":
    main()
