"""Where the default cache is and how large it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.cache import default_cache
from pennyweight.errors import InputError
from tests.caching import GB, key_of


@pytest.fixture
def environment(monkeypatch):
    """A function that sets the variables on which the default cache depends, and unsets the others."""

    def change(**variables: str) -> None:
        for name in ("PENNYWEIGHT_CACHE", "PENNYWEIGHT_CACHE_BYTES", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", "/home/somebody")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "/home/somebody/.cache/pennyweight"),
        ({"XDG_CACHE_HOME": "/var/cache/x"}, "/var/cache/x/pennyweight"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/somebody/.cache/pennyweight"),
        ({"PENNYWEIGHT_CACHE": "/data/c", "XDG_CACHE_HOME": "/var/cache/x"}, "/data/c"),
        ({"PENNYWEIGHT_CACHE": "~/c"}, "/home/somebody/c"),
        ({"PENNYWEIGHT_CACHE": ""}, "/home/somebody/.cache/pennyweight"),
        ({"PENNYWEIGHT_CACHE": "here"}, f"{Path.cwd()}/here"),
    ],
)
def test_where_the_default_cache_is(environment, variables, folder):
    environment(**variables)
    cache = default_cache()
    assert (str(cache.folder), cache.limit, cache.trouble) == (folder, 20 * GB, None)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0", 0),
        ("12345", 12345),
        ("20GB", 20 * GB),
        ("500MB", 500_000_000),
        (" 1.5 gb ", 1_500_000_000),
        ("3kb", 3000),
        ("2T", 2 * 10**12),
        ("1KiB", 1024),
        ("2GiB", 2 * 1024**3),
        ("7B", 7),
        ("", 20 * GB),
        ("9" * 5000, 2**63 - 1),
    ],
)
def test_how_large_the_default_cache_may_be(environment, text, limit):
    environment(PENNYWEIGHT_CACHE_BYTES=text)
    assert default_cache().limit == limit


@pytest.mark.parametrize("text", ["-1", "much", "20 XB", "GB", "1,5GB", "1e9", "inf", "20GB of it", "\u0663GB"])
def test_a_limit_that_is_no_size_is_refused(environment, text):
    environment(PENNYWEIGHT_CACHE_BYTES=text)
    with pytest.raises(InputError, match=f"^PENNYWEIGHT_CACHE_BYTES={text}: give a size such as 500MB or 20GB, or 0"):
        default_cache()


def test_a_user_without_a_home_has_no_cache(environment, monkeypatch):
    environment(PENNYWEIGHT_CACHE="~nobody-of-this-name/cache")
    cache = default_cache()
    assert cache.limit == 0
    assert "name another folder in PENNYWEIGHT_CACHE" in cache.trouble
    assert cache.write("tokens", key_of("a"), b"content") is False
