"""One cache of several threads and processes, some of them killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pennyweight.cache import Cache
from pennyweight.cache_entry import HEADER_SIZE
from tests.caching import GB, key_of, place, put, size_of


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", GB)


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
