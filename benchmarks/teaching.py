"""What a teacher brings to a small student, and texts without labels to a network with few labels.

``python -m benchmarks.teaching [--quick] [--json] [--only NAME]`` with PENNYWEIGHT_DATA naming the folder of data sets.
Every row trains the same network on the same labelled items of AG News twice, without and with the technique, and
judges both on all test items; seeds draw the items. Where a row does not say otherwise, adapters are in the upper half
of the layers of MiniLM, and the lower half is computed once. Each run is a folder under ``runs/teaching``; what this
code finished is read, not trained again. The result is written to ``benchmarks/results/teaching.json`` draw by draw,
with which test items were right, so that a later sitting adds its draws (``--draws``) to those that are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.answers import origin, packed, unpacked
from benchmarks.harness import RESULTS, data_folder, keep, layers_of, runs_of, surroundings, tell
from benchmarks.items import agnews_file
from benchmarks.paired import compared
from benchmarks.teaching_rows import ROWS, Row
from benchmarks.technique_arms import Changes, merged

NAME = "teaching"
LINEAR = ("query", "key", "value", "intermediate.dense", "output.dense")
Answers = Mapping[str, Any]
"""Of one draw: which test items are right without (``off``) and with the technique (``on``), `packed`."""


def main() -> None:
    """Train what is not trained yet, then compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few items, one seed, to see that it works; nothing kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--only", choices=list(ROWS), action="append", help="this row; none given: all")
    parser.add_argument("--draws", type=int, help="draws of each row at most; none given: as many as it is planned for")
    parser.add_argument("--again", action="store_true", help="measure anew what the results have already")
    options = parser.parse_args()
    data = data_folder()
    path = RESULTS / f"{NAME}.json"
    found = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() and not options.quick else {}
    for name in options.only or ROWS:
        planned = 1 if options.quick else min(ROWS[name].seeds, options.draws or ROWS[name].seeds)
        if not options.again and measured_draws(name, found) >= planned:
            continue
        known = {} if options.again else answers_of(name, found)
        for seed in [one for one in range(planned) if str(one) not in known]:
            known[str(seed)] = drawn(name, seed, data, quick=options.quick)
            found[name] = described(ROWS[name], known)
            tell(line(name, found[name]))
            if not options.quick:
                keep(NAME, {"benchmark": NAME, **surroundings(), "rows": found})
    content = {"benchmark": NAME, **surroundings(), "rows": found}
    print(json.dumps(content) if options.json else "\n".join(line(name, one) for name, one in found.items()))


def measured_draws(name: str, found: Mapping[str, Any]) -> int:
    """How many draws of a row there are; none where the row was another then."""
    if name not in found:
        return 0
    fields_of_today = asdict(Row(labels=0, seeds=0, base={}))
    settings = json.loads(json.dumps(fields_of_today)) | found[name]["settings"]
    return len(found[name]["seeds"][0]) if settings == json.loads(json.dumps(asdict(ROWS[name]))) else 0


def of_today(found: Mapping[str, Any]) -> dict[str, Any]:
    """The rows that were measured with the settings that they have today."""
    return {name: found[name] for name in ROWS if measured_draws(name, found)}


def answers_of(name: str, found: Mapping[str, Any]) -> dict[str, Answers]:
    """What earlier sittings kept of a row, by seed; rows of before answers were kept have none."""
    return dict(found[name].get("answers", {})) if measured_draws(name, found) else {}


def drawn(name: str, seed: int, data: Path, *, quick: bool) -> Answers:
    """Both ways of one draw."""
    folder = runs_of(NAME) / (name.replace(",", "").replace(" ", "-") + "-quick" * quick) / f"seed{seed}"
    run = both(ROWS[name], data, folder, seed=seed, quick=quick)
    right = {way: packed(run[way] == run["truth"]) for way in ("off", "on")}
    return {**right, "test_items": len(run["truth"]), "origin": origin()}


def described(row: Row, answers: Mapping[str, Answers]) -> dict[str, Any]:
    """A row as it is kept: both ways compared on the same test items, over the draws that there are."""
    [items] = {one["test_items"] for one in answers.values()}
    off, on = (np.array([unpacked(one[way], items) for one in answers.values()]) for way in ("off", "on"))
    return {
        **asdict(compared(off, on, np.ones(items, dtype=bool))),
        "seeds": [right.mean(axis=1).tolist() for right in (off, on)],
        "test_items": items,
        "settings": asdict(row),
        "answers": answers,
    }


def both(row: Row, data: Path, folder: Path, *, seed: int, quick: bool) -> dict[str, NDArray[Any]]:
    """Predictions without and with the technique, and the truth, each [test items]."""
    divided = 25 if quick else 1
    sizes = {
        "labelled": max(8, row.labels // divided),
        "texts": row.texts // divided // 4,
        "teacher": row.teacher // divided,
    }
    files = draw(agnews_file(data, "train"), folder, sizes, seed=seed)
    base = merged(common(data, files["labelled"], seed=seed), row.base)
    on = dict(row.on)
    if row.teacher:
        learnt = merged(common(data, files["teacher"], seed=seed), {"training": {"epochs": 2}})
        predicted("ag-news", learnt, folder / "teacher")
        on = merged(on, {"teachers": {"sources": [str(folder / "teacher")]}})
    if row.named:
        on = merged(on, {"data": {"source": str(with_names(files["labelled"], row.named))}})
    if row.texts:
        texts = {"unlabelled": {"source": str(files["texts"])}}
        on = merged(on, texts)
        if row.texts_for_both:
            base = merged(base, texts)
    off, truth = predicted(row.recipe, base, folder / "off")
    on = merged(base, on)
    found = together(row, on, folder, data) if row.together > 1 else predicted(row.recipe, on, folder / "on")[0]
    return {"off": off, "on": found, "truth": truth}


def draw(source: Path, folder: Path, sizes: Mapping[str, int], *, seed: int) -> dict[str, Path]:
    """Files of so many items of each class that share none; a file of texts has no labels."""
    import pyarrow.parquet as pq

    table = pq.read_table(source, columns=["text", "label"])
    labels, generator = table["label"].to_numpy(), np.random.default_rng(seed)
    classes = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    files, first = {}, 0
    for name, count in sizes.items():
        rows = generator.permutation(np.concatenate([one[first : first + count] for one in classes]))
        files[name] = folder / f"{name}.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        part = table.take(rows)
        pq.write_table(part.drop_columns("label") if name == "texts" else part, files[name])
        first += count
    return files


def with_names(labelled: Path, named: tuple[tuple[str, ...], ...]) -> Path:
    """A file of labelled items and, after them, of texts that say what each class is about."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    items = pq.read_table(labelled)
    added = [(text, label) for label, texts in enumerate(named) for text in texts]
    texts, labels = zip(*added, strict=True)
    table = pa.table({"text": pa.array(texts, items.schema.field("text").type), "label": labels})
    path = labelled.with_name("named.parquet")
    pq.write_table(pa.concat_tables([items, table.cast(items.schema)]), path)
    return path


def common(data: Path, source: Path, *, seed: int) -> dict[str, dict[str, Any]]:
    """What all runs share, as changes of their recipe."""
    half = layers_of("minilm") // 2
    return {
        "backbone": {"name": "minilm"},
        "data": {"source": str(source), "test": str(agnews_file(data, "test"))},
        "adapters": {"targets": [f"{target}@{-half}:" for target in LINEAR]},
        "training": {"seed": seed},
    }


def predicted(recipe: str, changes: Changes, folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Train a run, or read it where it is finished; its predictions and the truth, [test items]."""
    import pyarrow.parquet as pq

    from pennyweight import train

    train(recipe, folder, resume=True, **changes)
    table = pq.read_table(folder / "report" / "predictions.parquet", columns=["label", "predicted"])
    return table["predicted"].to_numpy(zero_copy_only=False), table["label"].to_numpy(zero_copy_only=False)


def together(row: Row, changes: Changes, folder: Path, data: Path) -> NDArray[Any]:
    """Labels that an ensemble of networks of different seeds gives the test items, by the mean of probabilities."""
    import pyarrow.parquet as pq

    from pennyweight import load
    from pennyweight.pipeline.combining.ensembling import make_ensemble

    members = [folder / f"member{number}" for number in range(row.together)]
    for number, member in enumerate(members):
        predicted(
            row.recipe, merged(changes, {"training": {"seed": changes["training"]["seed"] + 100 * number}}), member
        )
    shutil.rmtree(folder / "on", ignore_errors=True)  # of an interrupted measurement
    classifier = load(make_ensemble(members, folder / "on").folder)
    texts = pq.read_table(agnews_file(data, "test"), columns=["text"])["text"].to_pylist()
    return np.array(classifier.predict(texts), dtype=object)


def line(name: str, found: Mapping[str, Any]) -> str:
    """One row for people."""
    off, on, by, low, high = (100 * found[key] for key in ("off", "on", "difference", "low", "high"))
    apart = f"{by:+.2f} points ({low:+.2f} to {high:+.2f}), p {found['p']:.2g}"
    return f"{name}: {off:.2f} % without, {on:.2f} % with, {apart}"


if __name__ == "__main__":
    main()
