"""The cache as a whole: bounded, and cleared of what is its own alone."""

from __future__ import annotations

import random
import shutil
from collections import namedtuple

import pytest

from pennyweight.cache import Cache, Usage
from pennyweight.cache_entry import HEADER_SIZE
from tests.caching import GB, key_of, names_in, place, put, size_of


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", GB)


def test_what_is_not_there_is_none(cache):
    assert cache.read("tokens", key_of("a")) is None
    assert cache.trouble is None
    assert not cache.folder.exists()
    assert (cache.entries(), cache.usage(), cache.clear()) == ([], {}, 0)


def test_usage_counts_by_kind(cache):
    put(cache, "a", 100, used=1000)
    put(cache, "b", 300, used=3000)
    put(cache, "a", 700, used=2000, kind="prefix")
    assert cache.usage() == {"prefix": Usage(1, 700, 2000, 2000), "tokens": Usage(2, 400, 1000, 3000)}
    assert [(one.kind, one.key) for one in cache.entries()] == [
        ("tokens", key_of("a")),
        ("prefix", key_of("a")),
        ("tokens", key_of("b")),
    ]
    assert cache.usage()["tokens"].as_dict() == {
        "entries": 2,
        "bytes": 400,
        "oldest": "1970-01-01T00:16:40+00:00",
        "newest": "1970-01-01T00:50:00+00:00",
    }


def test_the_least_recently_used_make_room(cache):
    cache.limit = 3500
    for used, name in enumerate("abc", start=1):
        put(cache, name, used=used)
    put(cache, "d", 1600)
    assert names_in(cache, list("abcd")) == ["c", "d"]
    put(cache, "e", 3500)
    assert names_in(cache, list("abcde")) == ["e"]


def test_reading_is_using(cache):
    cache.limit = 3500
    for used, name in enumerate("abc", start=1):
        put(cache, name, used=used)
    cache.read("tokens", key_of("a"))
    put(cache, "d")
    assert names_in(cache, list("abcd")) == ["a", "c", "d"]


def test_kinds_share_the_limit(cache):
    cache.limit = 2500
    put(cache, "a", used=1, kind="prefix")
    put(cache, "b", used=2)
    put(cache, "c")
    assert cache.usage().keys() == {"tokens"}


@pytest.mark.parametrize("seed", range(3))
def test_the_limit_holds_whatever_comes(cache, seed):
    generator = random.Random(seed)
    cache.limit = 10_000
    for _ in range(150):
        name, size = generator.randrange(30), generator.choice([64, 500, 3000, 9999, 10_000, 10_001, 50_000])
        kept = cache.write("tokens", key_of(name), bytes(size - HEADER_SIZE))
        assert kept == (size <= cache.limit)
        if kept:
            assert cache.read("tokens", key_of(name)).size == size - HEADER_SIZE
        assert size_of(cache) <= cache.limit


def test_what_is_too_large_evicts_nothing(cache):
    cache.limit = 3500
    put(cache, "a")
    put(cache, "b")
    assert not cache.write("tokens", key_of("c"), bytes(3501))
    assert "3,565 bytes does not fit its limit (PENNYWEIGHT_CACHE_BYTES) of 3,500" in cache.trouble
    assert "\n" not in cache.trouble
    assert names_in(cache, list("abc")) == ["a", "b"]


def test_a_cache_without_a_limit_above_zero_is_off(cache):
    put(cache, "a")
    off = Cache(cache.folder, 0)
    assert off.read("tokens", key_of("a")) is None
    assert off.write("tokens", key_of("b"), b"content") is False
    assert (off.trouble, off.allowance()) == (None, 0)
    assert off.usage()["tokens"].entries == 1
    assert off.clear() == 1000


def test_room_that_is_not_there_is_named_unless_the_cache_is_off(cache):
    cache.limit = 3500
    put(cache, "a")
    assert cache.has_room_for(3500)
    assert cache.trouble is None
    assert not cache.has_room_for(3501)
    assert "cannot hold 3,501 bytes: its limit (PENNYWEIGHT_CACHE_BYTES) is 3,500 bytes" in cache.trouble
    off = Cache(cache.folder, 0)
    assert not off.has_room_for(1)
    assert off.trouble is None


Disk = namedtuple("Disk", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "allowed"),
    [
        (1000 * GB, 500 * GB, 20 * GB),  # the limit
        (1000 * GB, 15 * GB, 5 * GB + 2000),  # 10 GB of a large disk stay free
        (50 * GB, 15 * GB, 10 * GB + 2000),  # a tenth of a small one
        (1000 * GB, 10 * GB - 500, 1500),  # what others took is given back
        (1000 * GB, GB, 0),
    ],
)
def test_the_disk_keeps_room_for_others(cache, monkeypatch, total, free, allowed):
    cache.limit = 20 * GB
    put(cache, "a", used=1)
    put(cache, "b", used=2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Disk(total, total - free, free))
    assert cache.allowance() == allowed
    assert cache.write("tokens", key_of("c"), bytes(100)) == (allowed > 100)
    assert size_of(cache) <= allowed
    assert (cache.trouble is None) == (allowed > 100)
    if allowed < 100:
        assert "share of what the disk has free of 0 bytes" in cache.trouble


def test_the_allowance_of_a_folder_that_does_not_exist_is_that_of_its_disk(tmp_path):
    disk = shutil.disk_usage(tmp_path)
    allowed = Cache(tmp_path / "not" / "there", 10**18).allowance()
    assert 0 < allowed == pytest.approx(disk.free - min(disk.total // 10, 10 * GB), abs=GB)


def test_clear_frees_what_it_says(cache):
    put(cache, "a", 100)
    put(cache, "b", 200)
    put(cache, "c", 400, kind="prefix")
    assert cache.clear("prefix") == 400
    assert cache.usage().keys() == {"tokens"}
    assert cache.clear() == 300
    assert [path.name for path in cache.folder.iterdir()] == ["lock"]
    assert cache.clear() == 0


def test_clear_leaves_what_is_not_the_caches(cache, tmp_path):
    put(cache, "a")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "ab").mkdir(parents=True)
    outside = elsewhere / "ab" / f"ab{'0' * 62}.bin"
    outside.write_text("mine")
    shard = place(cache, "a").parent
    kept = {
        cache.folder / "note.txt",
        cache.folder / "tokens" / "note.txt",
        cache.folder / "tokens" / f"{key_of('b')}.bin",  # in no shard
        shard / "note.bin",
        shard / f"{'f' if shard.name[0] != 'f' else '0'}{'0' * 63}.bin",  # in another's shard
        shard / f"{shard.name}{'0' * 62}.bin.txt",
        cache.folder / "Documents" / "ab" / f"ab{'0' * 62}.bin",
    }
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (cache.folder / "linked").symlink_to(elsewhere)
    (cache.folder / "tokens" / "ab").symlink_to(elsewhere / "ab")
    (shard / f"{shard.name}{'1' * 62}.bin").symlink_to(outside)
    assert cache.clear() == 1000
    assert not place(cache, "a").exists()
    assert all(path.read_text() == "mine" for path in [*kept, outside])
    assert (cache.folder / "linked").is_symlink()
    assert (shard / f"{shard.name}{'1' * 62}.bin").is_symlink()


def test_a_new_folder_is_its_owners_alone(cache):
    put(cache, "a")
    assert cache.folder.stat().st_mode & 0o077 == 0
