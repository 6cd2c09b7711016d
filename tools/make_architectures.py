"""Write src/pennyweight/budget/architectures/*.json: every alias's architecture, as Transformers builds it.

`python tools/make_architectures.py` writes the records; with `--check` it exits 1 if one is not what it would write.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pennyweight.budget.backbones import ALIASES, read_config
from pennyweight.budget.known import to_record

FOLDER = Path(__file__).parents[1] / "src" / "pennyweight" / "budget" / "architectures"


def text_of(record: dict[str, Any]) -> str:
    """A record as JSON, each matrix on a line of its own."""
    *entries, (last, matrices) = record.items()
    head = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in entries)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in matrices)
    return f"{{\n{head}  {json.dumps(last)}: [\n{rows}\n  ]\n}}\n"


def main() -> None:
    """Write the records, or compare them."""
    parser = argparse.ArgumentParser(description="Write src/pennyweight/budget/architectures/*.json.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a record is out of date")
    check = parser.parse_args().check
    texts = {FOLDER / f"{alias}.json": text_of(to_record(read_config(alias))) for alias in ALIASES}
    if not check:
        FOLDER.mkdir(exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"budget/architectures/{path.name} is not up to date: run `python tools/make_architectures.py`")


if __name__ == "__main__":
    main()
