"""The command: one short function per subcommand, which parses, calls one function and prints.

Nothing heavy is imported before it is needed: ``--help`` loads neither torch nor transformers.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pennyweight.errors import InputError, PennyweightError
from pennyweight.flags import (
    AsJson,
    BackboneName,
    BadRow,
    BudgetSize,
    Changes,
    Folder,
    LabelColumn,
    Precision,
    RecipeName,
    Source,
    TextColumns,
    bad_row,
    changes_of,
    listed,
    precision_of,
)

if TYPE_CHECKING:
    from pennyweight.classifier import Classifier

app = typer.Typer(
    help="Plan, train, judge and use text classifiers that weigh what you say they may weigh.",
    epilog="--debug anywhere shows a traceback with an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

cache_app = typer.Typer(help="Show or clear what is kept on disk to save time.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


@app.command()
def plan(
    recipe: RecipeName,
    backbone: BackboneName = None,
    budget: BudgetSize = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Count what a recipe would train, before anything is downloaded; exit 1 if it is over budget."""
    from pennyweight.pipeline.planning import plan_recipe
    from pennyweight.recipe_files import load_recipe
    from pennyweight.startup import uncollected

    with uncollected():
        counted = plan_recipe(load_recipe(recipe, changes=changes_of(changes, backbone=backbone, budget=budget)))
    if as_json:
        _print_json(counted.as_dict())
    else:
        from pennyweight.tables import plan_table

        plan_table(counted)
    counted.require_within_budget()


@app.command()
def train(
    recipe: RecipeName,
    out: Annotated[Path, typer.Option("--out", help="New folder for the classifier.")],
    data: Annotated[str | None, typer.Option("--data", help="Train on this source instead of the recipe's.")] = None,
    backbone: BackboneName = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    on_bad_row: BadRow = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe into a classifier folder."""
    from pennyweight.recipe_files import load_recipe

    extra = changes_of(changes, backbone=backbone, data=data, on_bad_row=on_bad_row)
    chosen = load_recipe(recipe, changes=extra)

    from pennyweight.startup import load_libraries

    load_libraries()
    from pennyweight.pipeline.run import train_recipe

    outcome = train_recipe(chosen, out, resume=resume)
    if outcome.judgement is None:
        return
    if as_json:
        _print_json(outcome.as_dict())
    else:
        from pennyweight.tables import training_summary

        training_summary(outcome)


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - one for each flag
    classifier: Folder,
    data: Source,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for a report.")] = None,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    on_bad_row: BadRow = None,
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Judge a classifier on labelled data; in int8, beside what it is in its own number format."""
    loaded = _load(classifier, backbone, precision)
    from pennyweight.pipeline.judging import evaluate_source, schema_of_classifier

    schema = schema_of_classifier(loaded, text=listed(text), label=label, on_bad_row=bad_row(on_bad_row))
    reference = _load(classifier, backbone) if precision == "int8" else None
    judgement = evaluate_source(loaded, data, out=out, schema=schema, reference=reference)
    if as_json:
        _print_json(judgement.as_dict())
    else:
        from pennyweight.tables import metrics_table

        metrics_table(judgement)


@app.command()
def quantise(
    classifier: Folder,
    data: Source,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    on_bad_row: BadRow = None,
    as_json: AsJson = False,
) -> None:
    """Measure on labelled data what int8 costs a classifier, and keep the answer in its folder."""
    own = _load(classifier, backbone)
    from pennyweight.pipeline.judging import schema_of_classifier
    from pennyweight.pipeline.measuring import measure_int8

    schema = schema_of_classifier(own, text=listed(text), label=label, on_bad_row=bad_row(on_bad_row))
    record = measure_int8(classifier, data, reference=own, backbone=backbone, schema=schema)
    if as_json:
        _print_json({"folder": str(classifier), "int8": record.model_dump()})
    else:
        from pennyweight.tables import int8_summary

        int8_summary(classifier, record)


@app.command()
def predict(  # noqa: PLR0913, PLR0917 - one for each flag
    classifier: Folder,
    data: Source,
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv, .tsv, .jsonl or .parquet.")],
    columns: Annotated[
        str | None,
        typer.Option(
            help="NAME=FIELD,…: index, row, text, label, label_id, confidence, probabilities, column:NAME of the data."
        ),
    ] = None,
    backbone: BackboneName = None,
    text: TextColumns = None,
    on_bad_row: BadRow = None,
    precision: Precision = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a stopped or killed run left in OUT.partial.")
    ] = False,
) -> None:
    """Predict a file as a stream, in order.

    Ctrl-C or SIGTERM stops after the rows in hand; the same command with --resume goes on.
    """
    from pennyweight.data.writers import check_format
    from pennyweight.pipeline.predicting import parse_columns, predict_source

    check_format(out)
    chosen = parse_columns(columns) if columns else None
    loaded = _load(classifier, backbone, precision)
    done = predict_source(
        loaded, data, out, columns=chosen, text=listed(text), on_bad_row=bad_row(on_bad_row), resume=resume
    )
    skipped = f", {done.skipped:,} skipped" if done.skipped else ""
    earlier = f", {done.resumed_after:,} of them before" if done.resumed_after else ""
    speed = f"{done.seconds:.1f} s, {done.rows_per_second:,.0f} rows/s"
    typer.echo(f"{done.rows:,} rows predicted{earlier}{skipped} in {speed}: {out}", err=True)


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List the shipped recipes."""
    from pennyweight.recipe_files import shipped_recipes

    known = shipped_recipes()
    if as_json:
        _print_json({"recipes": [{"name": name, "description": text} for name, text in known.items()]})
        return
    width = max(map(len, known))
    for name, text in known.items():
        typer.echo(f"{name:{width}}  {text}")


@cache_app.command("list")
def cache_list(as_json: AsJson = False) -> None:
    """Show where the cache is, how large it may be, and what is in it."""
    from pennyweight.cache import default_cache

    cache = default_cache()
    usage = cache.usage()
    if as_json:
        kinds = {kind: used.as_dict() for kind, used in usage.items()}
        _print_json({"folder": str(cache.folder), "limit": cache.limit, "kinds": kinds})
    else:
        from pennyweight.tables import cache_table

        cache_table(cache, usage)


@cache_app.command("clear")
def cache_clear(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="tokens or prefix; all, if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is in the cache; it is computed again where it is needed."""
    from pennyweight.cache import KINDS, default_cache

    cache = default_cache()
    known = sorted(KINDS.keys() | cache.usage().keys())
    if kind is not None and kind not in known:
        raise InputError(f"cache clear {kind}: no such kind; there are {' and '.join(known)}")
    freed = cache.clear(kind)
    if as_json:
        _print_json({"folder": str(cache.folder), "freed": freed})
    else:
        from pennyweight.tables import size_words

        typer.echo(f"{size_words(freed)} freed: {cache.folder}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error meant for the user becomes one line and an exit code (2 input, 1 refused or failed)."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        app([one for one in given if one != "--debug"])
    except PennyweightError as error:
        _fail(str(error), error.exit_code, debug=debug)
    except (OSError, MemoryError) as error:
        _fail(f"the machine failed: {error or 'out of memory'}", 1, debug=debug)


def _load(folder: Path, backbone: str | None, precision: str | None = None) -> Classifier:
    """Open a classifier; a folder that is none is refused before the libraries that it takes are imported."""
    from pennyweight.manifest import read_manifest
    from pennyweight.startup import load_libraries

    chosen = precision_of(precision)
    manifest = read_manifest(folder)
    load_libraries()
    from pennyweight.classifier import Classifier

    loaded = Classifier.load(folder, backbone=backbone, precision=chosen)
    if chosen == "int8" and manifest.int8 is None:
        measure = f"pennyweight quantise {folder} --data LABELLED"
        typer.echo(f"what int8 costs this classifier was never measured; `{measure}` does so", err=True)
    return loaded


def _fail(message: str, code: int, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    typer.echo(f"pennyweight: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False))
