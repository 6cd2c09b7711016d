"""How plots look and how they leave: colours, style, PNG, and SVG that a page's colour scheme can restyle.

Colours are those of Okabe and Ito, which stay apart in every common form of colour blindness.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from matplotlib import style
from matplotlib.figure import Figure

_P = ParamSpec("_P")
_T = TypeVar("_T")

INK, FAINT, PAPER = "#24292f", "#d0d7de", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
CSS_NAMES = {
    INK: "ink",
    FAINT: "line",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
}
"""The CSS variable that stands for each colour in `as_svg`."""

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": PAPER,
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "pennyweight",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}


@contextmanager
def _house_style() -> Iterator[None]:
    """Matplotlib's defaults with ours on top, whatever the user's matplotlibrc says, and only for a while."""
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A label in a script that the font lacks shows boxes in the PNG; a browser finds a font for the SVG's text.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def styled(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a function that makes a Figure make it in the house style."""

    @wraps(function)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with _house_style():
            return function(*args, **kwargs)

    return inside


def as_png(figure: Figure) -> bytes:
    """The figure on a light ground, 200 dots per inch."""
    content = io.BytesIO()
    with _house_style():
        figure.savefig(content, format="png", dpi=200, bbox_inches="tight")
    return content.getvalue()


def as_svg(figure: Figure) -> str:
    """An ``<svg>`` element to inline into HTML: transparent, text as text, house colours as ``var(--name)``."""
    content = io.StringIO()
    with _house_style():
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", facecolor="none", bbox_inches="tight", metadata=nothing)
    drawing = content.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    return re.sub(r'(?<= style=")[^"]*', _with_variables, drawing)


def _with_variables(found: re.Match[str]) -> str:
    return re.sub(
        "#[0-9a-f]{6}", lambda one: f"var(--{CSS_NAMES[one[0]]})" if one[0] in CSS_NAMES else one[0], found[0]
    )


def short(label: str, longest: int) -> str:
    """A class name as one line that fits: cut in the middle, since names of a family often differ in their ends.

    Control characters, direction overrides and unpaired surrogates, which no font or file can take, become spaces.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in label).split()) or "(no name)"
    tail = longest // 3
    return line if len(line) <= longest else f"{line[: longest - tail - 1].rstrip()}…{line[-tail:].lstrip()}"
