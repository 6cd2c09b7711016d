"""A cache in trouble: full, half-written, read-only, linked elsewhere; none of it stops a run."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock

from pennyweight.cache import Cache
from pennyweight.cache_entry import HEADER_SIZE, stored_files, temporary_path
from pennyweight.errors import RunError
from tests.caching import GB, key_of, names_in, place, put, size_of


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", GB)


def test_a_full_disk_is_no_error_and_leaves_nothing(cache):
    """A limit on the size of files stands for the disk's; it is a real failure of a real write."""
    put(cache, "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        assert cache.write("tokens", key_of("b"), bytes(10_000)) is False
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cache.trouble == f"the cache {cache.folder} cannot be written: File too large"
    assert [one.key for one in stored_files(cache.folder)] == [key_of("a")]
    assert cache.write("tokens", key_of("b"), bytes(10_000))


def test_a_write_that_fails_halfway_leaves_what_was_there(cache, monkeypatch):
    assert cache.write("tokens", key_of("a"), b"old")
    monkeypatch.setattr(os, "replace", lambda *_names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert cache.write("tokens", key_of("a"), b"new") is False
    assert "No space left on device" in cache.trouble
    assert bytes(cache.read("tokens", key_of("a")).read_all()) == b"old"
    assert len(list(stored_files(cache.folder))) == 1


def test_an_interrupted_write_leaves_nothing(cache, monkeypatch):
    def interrupted(*_names):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.write("tokens", key_of("a"), b"new")
    assert size_of(cache) == 0


def test_a_folder_that_can_only_be_read_serves_reads():
    """Run as root, this turns into a user who may not write, since root may do anything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    cache = Cache(folder / "cache", GB)
    put(cache, "a", used=1)
    cache.folder.chmod(0o755)
    everything = [folder, *folder.rglob("*")]
    user = os.geteuid()
    try:
        for path in everything:
            path.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        assert cache.read("tokens", key_of("a")).size == 1000 - HEADER_SIZE
        assert cache.trouble is None
        assert cache.write("tokens", key_of("b"), b"content") is False
        assert cache.trouble == f"the cache {cache.folder} cannot be written: Permission denied"
        with pytest.raises(RunError, match=r"cannot clear the cache .*Permission denied; another run may hold it"):
            cache.clear()
    finally:
        os.seteuid(user)
        for path in everything:
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    cache = Cache(tmp_path / "file" / "cache", GB)
    assert cache.read("tokens", key_of("a")) is None
    assert cache.write("tokens", key_of("a"), b"content") is False
    assert "Not a directory" in cache.trouble
    assert (cache.entries(), cache.clear()) == ([], 0)
    beside = Cache(tmp_path / "file", GB)
    assert beside.write("tokens", key_of("a"), b"content") is False
    assert (tmp_path / "file").read_text() == "mine"


def test_only_the_first_trouble_is_kept(cache):
    cache.limit = 100
    cache.write("tokens", key_of("a"), bytes(200))
    first = cache.trouble
    cache.write("tokens", key_of("a"), bytes(300))
    assert cache.trouble == first


@pytest.mark.parametrize("linked", ["kind", "shard"])
def test_nothing_is_written_behind_a_link(cache, tmp_path, linked):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = place(cache, "a").parent
    link = link.parent if linked == "kind" else link
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    assert cache.write("tokens", key_of("a"), b"content") is False
    assert "leads elsewhere" in cache.trouble
    assert list(elsewhere.iterdir()) == []


def leftover(cache: Cache, name: object, size: int, *, age: float) -> Path:
    path = temporary_path(place(cache, name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_what_is_being_written_counts_and_what_was_abandoned_goes(cache):
    cache.limit = 3500
    put(cache, "a", used=1)
    put(cache, "b", used=2)
    current, abandoned = leftover(cache, "x", 1000, age=5), leftover(cache, "y", 400, age=7200)
    put(cache, "c")
    assert names_in(cache, list("abc")) == ["b", "c"]
    assert current.exists()
    assert not abandoned.exists()
    assert [one.key for one in cache.entries()] == [key_of("b"), key_of("c")]
    assert cache.clear() == 3000
    assert not current.exists()


def test_who_never_gets_the_lock_waits_for_it_once(cache, monkeypatch):
    asked, lock = [], Cache._lock
    monkeypatch.setattr("pennyweight.cache._LOCK_SECONDS", 0.05)
    monkeypatch.setattr(Cache, "_lock", lambda self: asked.append(1) or lock(self))
    put(cache, "a")
    with FileLock(cache.folder / "lock"):
        asked.clear()
        assert [cache.write("tokens", key_of(name), b"content") for name in ("b", "c", "d")] == [False] * 3
    assert len(asked) == 1
    assert "cannot be written" in cache.trouble
    assert cache.read("tokens", key_of("a")) is not None
