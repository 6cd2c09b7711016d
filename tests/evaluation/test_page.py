from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bs4 import BeautifulSoup

from pennyweight.errors import RunError
from pennyweight.evaluation.comparison import Bench, Comparison, Standing, all_pairs
from pennyweight.evaluation.grids import Grid, p_words, pairs, percent, points, standings, verdict
from pennyweight.evaluation.intervals import Interval
from pennyweight.evaluation.joint import JointCounts
from pennyweight.evaluation.judging_plots import comparison_plot
from pennyweight.evaluation.page import Chapter, write_page

HOSTILE = ["<script>alert(1)</script>", 'x" onload="alert(1)', "W" * 500, "\ud800\x00\u202e</style>", "كرة القدم", ""]


@pytest.fixture(scope="module")
def comparison():
    """Six contenders with names that no page should trust, on 200 items of two classes."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 200)
    right = generator.random((200, 6)) < (0.95, 0.9, 0.9, 0.9, 0.9, 0.6)
    joint = JointCounts(2, 6)
    joint.update(truth, np.where(right, truth[:, None], 1 - truth[:, None]))
    bench = Bench(joint, HOSTILE, [[one] for one in range(6)], resamples=200)
    rows = tuple(
        Standing(name, 1, bench.standing(one, "accuracy"), bench.standing(one, "macro_f1"), 0.02, None, 10**6 + one)
        for one, name in enumerate(HOSTILE)
    )
    return Comparison("data, 200 items", 200, rows, bench.pairs(all_pairs(6)))


def written(folder, comparison):
    figure = comparison_plot(comparison.standings, comparison.pairs)
    chapter = Chapter("Standing", standings(comparison), ("A note.",), figure, "What it shows")
    content = comparison.as_dict()
    chapters = [chapter, Chapter("Pairs", pairs(comparison.pairs))]
    return write_page(folder, "page", title=HOSTILE[0], lead=[HOSTILE[1]], chapters=chapters, content=content)


def test_hostile_names_stay_text(comparison, tmp_path):
    page = written(tmp_path, comparison)
    soup = BeautifulSoup(page.read_bytes().decode(), "html.parser")
    assert not soup("script")
    assert not [tag for tag in soup.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert soup.find("h1").get_text() == HOSTILE[0]
    assert all(len(cell.get_text()) <= 80 for cell in soup("td"))
    told = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["contenders"]] == HOSTILE
    assert len(told["pairs"]) == 15


def test_the_page_is_whole_and_loads_nothing(comparison, tmp_path):
    page = written(tmp_path, comparison)
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not BeautifulSoup(text, "html.parser").find_all(["link", "img", "iframe"])
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"page.html", "page.json", "plots/page-1.png"}


def test_what_cannot_be_written_is_said(comparison, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        written(tmp_path / "file", comparison)


def test_words():
    assert percent(Interval(0.93028, 0.9215, 0.9381)) == "93.03 % (92.15–93.81)"
    assert points(Interval(0.0053, -0.0011, 0.0117)) == "+0.53 (-0.11 to +1.17)"
    assert (p_words(0.0501), p_words(0.0004)) == ("0.050", "< 0.001")
    assert [Grid(("a", "b"), (), words=(1,)).is_word(one) for one in (0, 1)] == [False, True]


def test_the_best_comes_first_and_verdicts_name_the_better(comparison):
    values = [one.accuracy.value for one in comparison.standings]
    best = max(range(6), key=lambda one: values[one])
    assert standings(comparison).rows[0][0] == HOSTILE[best]
    pair = next(one for one in comparison.pairs if (one.first, one.second) == (HOSTILE[0], HOSTILE[5]))
    assert verdict(pair) == f"{HOSTILE[0]} is better"
    turned = replace(pair, accuracy=Interval(-0.3, -0.4, -0.2))
    assert verdict(turned) == f"{HOSTILE[5]} is better"
    assert verdict(replace(pair, p_corrected=0.05)) == "no difference shown"
