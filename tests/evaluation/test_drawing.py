from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure

from pennyweight.evaluation.drawing import BLUE, CSS_NAMES, INK, as_png, as_svg, short, styled


@styled
def _figure(text="quiet", colour=BLUE):
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=colour)
    axes.text(0.5, 0.5, text)
    return figure


def test_svg_takes_its_colours_from_the_page():
    drawing = as_svg(_figure())
    assert drawing.startswith("<svg")
    assert f"var(--{CSS_NAMES[BLUE]})" in drawing
    assert f"var(--{CSS_NAMES[INK]})" in drawing
    assert BLUE not in drawing


def test_svg_keeps_colours_that_are_not_the_houses():
    assert "#123456" in as_svg(_figure(colour="#123456"))


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a & b", "$\\frac{x}$", "]]> --> <!--", 'style="#0072b2"']
)
def test_svg_holds_any_text_as_text(text):
    root = ElementTree.fromstring(as_svg(_figure(text)))
    assert not [one for one in root.iter() if one.tag.endswith("script")]
    if "style" not in text:
        assert text in ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]


def test_the_same_figure_is_drawn_the_same():
    assert as_svg(_figure()) == as_svg(_figure())
    assert as_png(_figure()) == as_png(_figure())


def test_drawing_leaves_the_users_settings_alone_and_does_not_depend_on_them():
    expected = as_svg(_figure())
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "text.color": "red"}):
        before = dict(matplotlib.rcParams)
        found = as_svg(_figure())
        assert dict(matplotlib.rcParams) == before
    assert found == expected


def test_pyplot_is_never_imported():
    script = "import sys, pennyweight.evaluation.report; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Sports", "Sports"),
        ("a\nb\t c", "a b c"),
        ("\u202egnp\x00 \ud800", "gnp"),
        ("", "(no name)"),
        ("经济", "经济"),
        ("card_payment_not_recognised", "card_payment_n…ognised"),
    ],
)
def test_short_names_are_one_clean_line(label, expected):
    assert short(label, 22) == expected
    assert len(short(label, 22)) <= 22
