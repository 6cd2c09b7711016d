"""A small self-contained page of tables and figures, with its numbers beside it; the terminal shows the same tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from pennyweight.evaluation.drawing import as_svg, short
from pennyweight.evaluation.grids import Grid
from pennyweight.evaluation.plots import save_plots
from pennyweight.files import write_bytes

_LONGEST_CELL = 80


@dataclass(frozen=True)
class Chapter:
    """A part of a page: a heading, a table, perhaps a figure over it and notes below."""

    heading: str
    grid: Grid
    notes: tuple[str, ...] = ()
    figure: Figure | None = None
    caption: str = ""
    """What the figure shows; said where a figure is given."""

    @property
    def drawing(self) -> Markup | None:
        """The figure as SVG, by matplotlib, which escapes the names in it."""
        return None if self.figure is None else Markup(as_svg(self.figure))


def write_page(
    folder: Path, name: str, *, title: str, lead: Sequence[str], chapters: Sequence[Chapter], content: Mapping[str, Any]
) -> Path:
    """Write ``folder``/NAME.html, NAME.json and plots/NAME-1.png …, each whole or not at all; returns the page's path.

    Args:
        folder: made if need be.
        name: of the files.
        title: the page's heading.
        lead: lines below it.
        chapters: the rest.
        content: what NAME.json holds.

    Raises:
        RunError: the folder cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [_shown(chapter) for chapter in chapters]
    page = environment.get_template("page.html.j2").render(title=title, lead=lead, chapters=shown)
    numbers = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Names read from JSON may hold unpaired surrogates, which UTF-8 has no bytes for; \udXXX is right in JSON too.
    write_bytes(folder / f"{name}.json", numbers.encode("utf-8", "backslashreplace"))
    figures = [chapter.figure for chapter in chapters if chapter.figure is not None]
    save_plots({f"{name}-{number}": figure for number, figure in enumerate(figures, start=1)}, folder / "plots")
    path = folder / f"{name}.html"
    write_bytes(path, page.encode("utf-8", "replace"))
    return path


def _shown(chapter: Chapter) -> Chapter:
    """The chapter with what is too long for a cell cut in the middle."""
    rows = tuple(tuple(cell and short(cell, _LONGEST_CELL) for cell in row) for row in chapter.grid.rows)
    grid = Grid(chapter.grid.columns, rows, words=chapter.grid.words)
    return Chapter(chapter.heading, grid, chapter.notes, chapter.figure, chapter.caption)
