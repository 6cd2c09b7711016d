from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from pennyweight.cache import Cache, default_cache
from pennyweight.cache_entry import HEADER_SIZE


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Cache:
    monkeypatch.setenv("PENNYWEIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PENNYWEIGHT_CACHE_BYTES", "5MB")
    monkeypatch.setenv("COLUMNS", "200")
    return default_cache()


@pytest.fixture
def filled(cache) -> Cache:
    for kind, name, size in (("tokens", "a", 1500), ("tokens", "b", 500), ("prefix", "a", 2_000_000)):
        assert cache.write(kind, hashlib.sha256(name.encode()).hexdigest(), bytes(size - HEADER_SIZE))
    return cache


def one_object(stdout: str) -> dict:
    assert stdout.count("\n") == 1
    return json.loads(stdout)


def test_help_loads_nothing_heavy():
    code = """
import contextlib, io, sys
from pennyweight.cli import main
for command in (["cache"], ["cache", "list"], ["cache", "clear"]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*command, "--help"])
    assert "Usage" in out.getvalue()
print(sorted({"torch", "numpy", "transformers", "datasets", "filelock"} & sys.modules.keys()))
for command in (["list", "--json"], ["clear", "--json"]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(["cache", *command])
    assert "folder" in out.getvalue()
print(sorted({"torch", "numpy", "transformers", "datasets"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[]", "[]", ""]


def test_the_tests_have_a_cache_of_their_own(tmp_path_factory):
    assert default_cache().folder.is_relative_to(tmp_path_factory.getbasetemp())


def test_list_as_json(pennyweight, filled):
    code, stdout, stderr = pennyweight("cache", "list", "--json")
    assert (code, stderr) == (0, "")
    listed = one_object(stdout)
    assert (listed["folder"], listed["limit"]) == (str(filled.folder), 5_000_000)
    assert {kind: (used["entries"], used["bytes"]) for kind, used in listed["kinds"].items()} == {
        "prefix": (1, 2_000_000),
        "tokens": (2, 2000),
    }
    tokens = listed["kinds"]["tokens"]
    assert tokens["oldest"] <= tokens["newest"]
    assert tokens["newest"].endswith("+00:00")


def test_list_for_people(pennyweight, filled):
    code, stdout, stderr = pennyweight("cache", "list")
    assert (code, stderr) == (0, "")
    lines = stdout.splitlines()
    assert lines[:2] == [f"cache: {filled.folder}", "2.0 MB of 5.0 MB"]
    (tokens,) = [line for line in lines if " tokens " in line and "│" in line]
    assert "2.0 kB" in tokens
    assert "texts cut into tokens" in tokens


def test_list_of_nothing_makes_nothing(pennyweight, cache):
    code, stdout, _ = pennyweight("cache", "list")
    assert (code, stdout) == (0, f"cache: {cache.folder}\n0 bytes of 5.0 MB\n")
    assert one_object(pennyweight("cache", "list", "--json")[1])["kinds"] == {}
    assert not cache.folder.exists()


def test_list_says_when_the_cache_is_off(pennyweight, cache, monkeypatch):
    monkeypatch.setenv("PENNYWEIGHT_CACHE_BYTES", "0")
    assert pennyweight("cache", "list")[1] == f"cache: {cache.folder}\noff: its limit is 0\n"
    monkeypatch.setenv("PENNYWEIGHT_CACHE", "~nobody-of-this-name/cache")
    assert "needs a home folder" in pennyweight("cache", "list")[1]


def test_a_file_in_the_cache_s_place_is_told(refused, monkeypatch, tmp_path):
    place = tmp_path / "file"
    place.write_text("mine", encoding="utf-8")
    monkeypatch.setenv("PENNYWEIGHT_CACHE", str(place))
    for command in ("list", "clear"):
        assert f"{place} is no folder, so that there is no cache" in refused("cache", command)
    assert place.read_text(encoding="utf-8") == "mine"


def test_a_cache_that_cannot_be_read_is_told(pennyweight, filled, monkeypatch):
    def denied(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pennyweight.cache.stored_files", denied)
    for command in ("list", "clear"):
        code, stdout, stderr = pennyweight("cache", command)
        assert (code, stdout) == (1, "")
        assert stderr == (
            f"pennyweight: cannot read the cache {filled.folder}: Permission denied; another user may own it "
            f"(PENNYWEIGHT_CACHE names another folder)\n"
        )


def test_clear_one_kind_then_all(pennyweight, filled):
    code, stdout, stderr = pennyweight("cache", "clear", "prefix", "--json")
    assert (code, stderr) == (0, "")
    assert one_object(stdout) == {"folder": str(filled.folder), "freed": 2_000_000}
    assert filled.usage().keys() == {"tokens"}
    assert pennyweight("cache", "clear") == (0, f"2.0 kB freed: {filled.folder}\n", "")
    assert filled.usage() == {}
    for arguments in ([], ["tokens"]):
        assert pennyweight("cache", "clear", *arguments) == (0, f"0 bytes freed: {filled.folder}\n", "")


def test_clear_of_an_unknown_kind(refused, filled):
    assert "cache clear tokns: no such kind; there are logits, prefix, tokens" in refused("cache", "clear", "tokns")
    assert "no such kind" in refused("cache", "clear", "..")
    assert len(filled.entries()) == 3


def test_a_kind_of_another_version_can_be_cleared(pennyweight, filled):
    filled.write("vectors", 64 * "a", b"content")
    assert pennyweight("cache", "clear", "vectors")[0] == 0
    assert filled.usage().keys() == {"prefix", "tokens"}


@pytest.mark.parametrize("command", ["list", "clear"])
def test_a_limit_that_is_no_size(refused, cache, monkeypatch, command):
    monkeypatch.setenv("PENNYWEIGHT_CACHE_BYTES", "plenty")
    assert "PENNYWEIGHT_CACHE_BYTES=plenty: give a size" in refused("cache", command)
