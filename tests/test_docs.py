"""What the documentation shows exists: links, pictures, commands, recipe keys, and a reference that is up to date."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from pennyweight.cli import app
from pennyweight.errors import InputError
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe, load_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
COMMANDS = typer.main.get_command(app).commands
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`pennyweight (\w[^`]*)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"`([a-z]+\.[a-z_]+)(?:\s?=[^`]*)?`")


def text_of(page: Path) -> str:
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def links(page: Path) -> list[str]:
    """Targets of a page's links and pictures, code left out."""
    return LINK.findall(FENCE.sub("", text_of(page)))


def commands() -> list[tuple[str, list[str]]]:
    """Every `pennyweight …` command in a console or bash block or a code span, as page and words."""
    found = []
    for page in PAGES:
        found += [(page.name, shlex.split(span)) for span in SPAN.findall(FENCE.sub("", text_of(page)))]
        for language, block in FENCE.findall(text_of(page)):
            if language not in ("console", "bash"):
                continue
            joined = block.replace("\\\n", " ")
            lines = [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]
            for line in lines if language == "console" else joined.splitlines():
                words = shlex.split(line, comments=True)
                if "pennyweight" in words:
                    found.append((page.name, words[words.index("pennyweight") + 1 :]))
    return found


def test_pages_were_found():
    assert len(PAGES) >= 12
    assert len(NOTEBOOKS) == 1
    assert len(commands()) >= 20


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in links(page):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


def test_no_picture_comes_from_the_network():
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\(\w+://", text_of(page)), page.name


def test_every_page_is_reachable_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix not in (".md", ".ipynb"):
            continue
        seen.add(page)
        waiting += [(page.parent / target.split("#")[0]).resolve() for target in links(page) if "://" not in target]
    assert {page.name for page in [*PAGES, *NOTEBOOKS]} <= {page.name for page in seen}


@pytest.mark.parametrize("page,words", commands(), ids=lambda part: part if isinstance(part, str) else " ".join(part))
def test_commands_parse(page, words):
    """Each is parsed by the command itself, without being run; its recipe and its changes are read."""
    command = COMMANDS[words[0]]
    if len(words) == 1 and words[0] != "recipes":
        return  # a span that names the command alone
    given = command.make_context(words[0], list(words[1:])).params
    changes = given.get("changes") or []
    recipe = given.get("recipe")
    if recipe is not None and not recipe.endswith(".toml") and not recipe.isupper():
        load_recipe(recipe, changes=changes)
    for change in changes:
        section, key = change.split("=")[0].split(".")
        assert key in Recipe.model_fields[section].annotation.model_fields, f"{page}: {change}"


def test_a_command_that_does_not_exist_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["plan"].make_context("plan", ["quickstart", "--bugdet", "3"])
    with pytest.raises(InputError, match="unknown recipe"):
        load_recipe("quikstart")


def test_keys_named_in_the_text_are_known():
    """`section.key` in code spans and after --set, wherever the first part is a section's name."""
    named = {
        (page.name, name)
        for page in [*PAGES, *NOTEBOOKS]
        for name in [*KEY.findall(text_of(page)), *re.findall(r"--set '?([a-z]+\.[a-z_]+)=", text_of(page))]
        if name.split(".")[0] in Recipe.model_fields and not name.endswith((".py", ".md"))
    }
    assert len(named) >= 15
    unknown = []
    for page, name in sorted(named):
        section, key = name.split(".")
        if key not in Recipe.model_fields[section].annotation.model_fields:
            unknown.append(f"{page}: {name}")
    assert not unknown


def test_recipes_shown_are_recipes():
    """TOML blocks validate as they stand."""
    blocks = [block for page in PAGES for language, block in FENCE.findall(text_of(page)) if language == "toml"]
    assert blocks
    for block in blocks:
        build_recipe(tomllib.loads(block))


def test_shipped_recipes_are_all_in_the_readme():
    readme = text_of(ROOT / "README.md")
    assert all(f"`{name}`" in readme for name in shipped_recipes())


def test_planning_table_shows_what_plan_counts():
    from pennyweight.pipeline.planning import plan_recipe

    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*?\| stock \| ([\d,]+) \|", text_of(ROOT / "README.md"), re.MULTILINE)
    assert len(rows) == 5
    for name, count in rows:
        assert f"{plan_recipe(load_recipe(name)).trainable:,}" == count, name


def test_recipe_reference_is_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_recipe_reference_knows_every_key():
    page = text_of(ROOT / "docs" / "recipe-reference.md")
    for name, section in Recipe.model_fields.items():
        part = page.split(f"## `[{name}]`")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(section.annotation.model_fields)
