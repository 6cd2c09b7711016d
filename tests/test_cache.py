"""The cache as a whole: bounded, shared by processes, and never in the way of a run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pennyweight.cache import Cache, Usage, default_cache
from pennyweight.cache_entry import HEADER_SIZE, entry_path, stored_files, temporary_path
from pennyweight.errors import InputError, RunError

GB = 10**9


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def place(cache: Cache, name: object, kind: str = "tokens") -> Path:
    return entry_path(cache.folder, kind, key_of(name))


def put(cache: Cache, name: object, size: int = 1000, *, used: float | None = None, kind: str = "tokens") -> None:
    """An entry of ``size`` bytes on disk, last used ``used`` seconds after 1970."""
    assert cache.write(kind, key_of(name), bytes(size - HEADER_SIZE)), cache.trouble
    if used is not None:
        os.utime(place(cache, name, kind), (used, used))


def names_in(cache: Cache, names: list[object]) -> list[object]:
    return [name for name in names if place(cache, name).exists()]


def size_of(cache: Cache) -> int:
    return sum(found.size for found in stored_files(cache.folder))


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


def test_threads_may_share_it(cache):
    cache.limit = 20_000

    def work(number: int) -> bool:
        name = number % 30
        content = key_of(name).encode() * 20
        cache.write("tokens", key_of(name), content)
        entry = cache.read("tokens", key_of(name))
        return entry is None or bytes(entry.read_all()) == content

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(300)))
    assert cache.trouble is None
    assert 0 < size_of(cache) <= cache.limit


WORKER = """
import hashlib, json, random, sys, time
from pathlib import Path
from pennyweight.cache import Cache

folder, seed, seconds, limit = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
cache, generator = Cache(folder, limit), random.Random(seed)
counts = {"hits": 0, "misses": 0, "kept": 0, "refused": 0, "cleared": 0}
held = []
end = time.monotonic() + seconds
print("started", flush=True)
while time.monotonic() < end:
    name = generator.randrange(40)
    key = hashlib.sha256(str(name).encode()).hexdigest()
    content = key.encode() * (20 + 40 * name)
    entry = cache.read("tokens", key)
    counts["misses" if entry is None else "hits"] += 1
    if entry is None:
        counts["kept" if cache.write("tokens", key, content) else "refused"] += 1
    else:
        assert bytes(entry.read_all()) == content, "wrong content"
        held.append((entry, content))
    if len(held) > 20:  # read again, long after others may have evicted them
        for entry, content in held:
            assert bytes(entry.read_all()) == content, "wrong content later"
        held.clear()
    if generator.random() < 0.01:
        cache.clear()
        counts["cleared"] += 1
print(json.dumps(counts))
print(cache.trouble)
"""


def start_worker(cache: Cache, seed: int, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(cache.folder), str(seed), str(seconds), str(cache.limit)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "started\n"
    return worker


def test_processes_that_write_evict_and_clear_the_same_entries(cache):
    """Contents are right, the bound holds at any time, and nobody fails."""
    cache.limit = 1_000_000
    workers = [start_worker(cache, seed, 4.0) for seed in range(3)]
    while any(worker.poll() is None for worker in workers):
        with cache._lock():  # else one would count what is evicted and what comes in its place
            assert size_of(cache) <= cache.limit
        time.sleep(0.01)
    totals = {"hits": 0, "kept": 0, "cleared": 0}
    for worker in workers:
        output, errors = worker.communicate()
        assert worker.returncode == 0, errors
        counts, trouble = output.splitlines()
        # A write may lose its temporary file to another's `clear`, and is then refused; there is no other reason.
        assert trouble == "None" or trouble.endswith("No such file or directory"), trouble
        for name in totals:
            totals[name] += json.loads(counts)[name]
    assert min(totals.values()) > 0, totals
    assert size_of(cache) <= cache.limit


def test_killed_processes_leave_nothing_wrong(cache):
    cache.limit = 400_000
    generator = random.Random(5)
    for seed in range(4):
        worker = start_worker(cache, seed, 60.0)
        time.sleep(generator.uniform(0.05, 0.5))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        for name in range(40):
            entry = cache.read("tokens", key_of(name))
            if entry is not None:
                assert bytes(entry.read_all()) == key_of(name).encode() * (20 + 40 * name)
        assert size_of(cache) <= cache.limit
    assert cache.trouble is None
    put(cache, "new")
    assert cache.clear() > 0
    assert size_of(cache) == 0


def test_an_entry_stays_readable_while_another_process_evicts_it(cache):
    put(cache, "held", 50_000)
    with cache.read("tokens", key_of("held")) as entry:
        code = (
            "import sys; from pathlib import Path; from pennyweight.cache import Cache\n"
            "assert Cache(Path(sys.argv[1]), 60_000).write('tokens', 64 * 'a', bytes(40_000))"
        )
        subprocess.run([sys.executable, "-c", code, str(cache.folder)], check=True)
        assert not place(cache, "held").exists()
        assert bytes(entry.read_all()) == bytes(50_000 - HEADER_SIZE)


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


def test_a_new_folder_is_its_owners_alone(cache):
    put(cache, "a")
    assert cache.folder.stat().st_mode & 0o077 == 0
