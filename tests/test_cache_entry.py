"""Files of the cache: what was written is read, at any position; what is not whole is nothing, and is removed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pennyweight import cache_entry
from pennyweight.cache import Cache
from pennyweight.cache_entry import HEADER_SIZE, entry_path, open_entry
from pennyweight.errors import RunError

KEY = hashlib.sha256(b"one").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
PAYLOAD = random.Random(1).randbytes(5000)


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def written(cache) -> Path:
    assert cache.write("tokens", KEY, PAYLOAD)
    return entry_path(cache.folder, "tokens", KEY)


def content(cache: Cache, kind: str = "tokens", key: str = KEY) -> bytes | None:
    entry = cache.read(kind, key)
    if entry is None:
        return None
    with entry:
        return bytes(entry.read_all())


TABLE = np.arange(24, dtype=np.int16).reshape(4, 6)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", b""),
        (b"a", b"a"),
        (PAYLOAD, PAYLOAD),
        (bytearray(PAYLOAD), PAYLOAD),
        (memoryview(PAYLOAD), PAYLOAD),
        (TABLE, TABLE.tobytes()),
        (np.zeros((0, 3)), b""),
        ([], b""),
        ([TABLE, b"", memoryview(b"end")], TABLE.tobytes() + b"end"),
        ((TABLE[row] for row in range(4)), TABLE.tobytes()),
        (b"\0" * (3 << 20) + b"more than a block", b"\0" * (3 << 20) + b"more than a block"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_written_is_read(cache, payload, expected):
    assert cache.write("tokens", KEY, payload)
    entry = cache.read("tokens", KEY)
    assert entry.size == len(expected)
    assert bytes(entry.read_all()) == expected


@pytest.mark.parametrize("payload", [TABLE[:, ::2], TABLE.T, ["text"], 3])
def test_what_is_no_plain_memory_is_an_error_of_the_caller(cache, payload):
    with pytest.raises(TypeError):
        cache.write("tokens", KEY, payload)
    assert not cache.folder.exists()


@pytest.mark.parametrize("system", ["POSIX", "Windows"])
def test_reads_at_any_position_from_several_threads(cache, written, monkeypatch, system):
    if system == "Windows":
        monkeypatch.delattr(os, "preadv")
    generator = random.Random(2)
    spans = [(0, 0), (0, 5000), (4999, 1), (5000, 0)]
    spans += [(start, generator.randint(0, 5000 - start)) for start in generator.choices(range(5000), k=300)]

    def read(span: tuple[int, int]) -> bool:
        start, length = span
        array = np.zeros(length, dtype=np.uint8)
        entry.read_into(array, start)
        return array.tobytes() == bytes(entry.pread(start, length)) == PAYLOAD[start : start + length]

    with cache.read("tokens", KEY) as entry, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, spans))


def test_a_buffer_of_several_dimensions_is_filled(cache):
    cache.write("prefix", KEY, TABLE)
    rows = np.zeros((2, 6), dtype=np.int16)
    cache.read("prefix", KEY).read_into(rows, 2 * 6 * 2)
    np.testing.assert_array_equal(rows, TABLE[2:])


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 5001), (5000, 1), (10**12, 1)])
def test_reads_outside_are_an_error_of_the_caller(cache, written, offset, length):
    with pytest.raises(ValueError, match="of an entry of 5000"):
        cache.read("tokens", KEY).pread(offset, length)


def test_a_closed_entry_cannot_be_read(cache, written):
    entry = cache.read("tokens", KEY)
    entry.close()
    with pytest.raises(ValueError, match="closed"):
        entry.pread(0, 1)


def test_any_flipped_bit_is_noticed(cache):
    assert cache.write("tokens", KEY, PAYLOAD[:40])
    path = entry_path(cache.folder, "tokens", KEY)
    whole = path.read_bytes()
    assert len(whole) == HEADER_SIZE + 40
    for position in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert cache.read("tokens", KEY) is None, position
        assert not path.exists()
    path.write_bytes(whole)
    assert content(cache) == PAYLOAD[:40]


def test_any_other_length_is_noticed(cache):
    assert cache.write("tokens", KEY, bytes(40))
    path = entry_path(cache.folder, "tokens", KEY)
    whole = path.read_bytes()
    for damaged in [*(whole[:length] for length in range(len(whole))), whole + b"\0", whole + whole, bytes(len(whole))]:
        path.write_bytes(damaged)
        assert cache.read("tokens", KEY) is None, len(damaged)
        assert not path.exists()
    assert cache.trouble is None


def test_an_entry_in_the_place_of_another_is_noticed(cache, written):
    for kind, key in (("tokens", OTHER), ("prefix", KEY)):
        place = entry_path(cache.folder, kind, key)
        place.parent.mkdir(parents=True)
        shutil.copy(written, place)
        assert content(cache, kind, key) is None
        assert not place.exists()
    assert content(cache) == PAYLOAD


def test_what_was_damaged_can_be_written_again(cache, written):
    written.write_bytes(b"something else")
    assert content(cache) is None
    assert cache.write("tokens", KEY, PAYLOAD)
    assert content(cache) == PAYLOAD


def test_a_whole_entry_that_came_in_the_place_of_a_damaged_one_stays(cache, written, tmp_path, monkeypatch):
    whole = shutil.copy(written, tmp_path / "whole")
    written.write_bytes(written.read_bytes()[:-1] + b"?")
    really = cache_entry._checksum

    def replaced_meanwhile(*arguments):
        checksum = really(*arguments)
        os.replace(whole, written)
        return checksum

    with monkeypatch.context() as patch:
        patch.setattr(cache_entry, "_checksum", replaced_meanwhile)
        assert content(cache) is None
    assert content(cache) == PAYLOAD


def test_an_open_entry_outlives_its_removal_and_its_replacement(cache, written):
    with cache.read("tokens", KEY) as replaced:
        assert cache.write("tokens", KEY, b"new")
        with cache.read("tokens", KEY) as removed:
            cache.clear()
            assert not written.exists()
            assert bytes(removed.read_all()) == b"new"
        assert bytes(replaced.read_all()) == PAYLOAD


def test_a_file_that_loses_its_end_while_it_is_open_is_one_line_with_a_remedy(cache, written):
    entry = cache.read("tokens", KEY)
    os.truncate(written, HEADER_SIZE + 100)
    assert bytes(entry.pread(0, 100)) == PAYLOAD[:100]
    with pytest.raises(RunError, match="ends too early; run `pennyweight cache clear`"):
        entry.pread(50, 100)


def test_links_pipes_and_folders_are_neither_read_nor_removed(cache, written, tmp_path):
    target = tmp_path / "target"
    written.rename(target)
    written.symlink_to(target)
    assert content(cache) is None
    assert "cannot be read" in cache.trouble
    assert written.is_symlink()
    written.unlink()
    os.mkfifo(written)
    assert content(cache) is None
    written.unlink()
    written.mkdir()
    assert content(cache) is None
    assert written.is_dir()
    assert target.stat().st_size == HEADER_SIZE + len(PAYLOAD)


def test_a_link_gives_way_to_a_new_entry_and_its_target_stays(cache, written, tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    written.unlink()
    written.symlink_to(target)
    assert cache.write("tokens", KEY, b"new")
    assert content(cache) == b"new"
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    ("kind", "key"), [("", KEY), ("..", KEY), ("a/b", KEY), ("A", KEY), ("tokens", "ab"), ("tokens", KEY.upper())]
)
def test_names_that_could_lead_elsewhere_are_refused(cache, kind, key):
    with pytest.raises(ValueError, match="do not name an entry"):
        cache.read(kind, key)
    with pytest.raises(ValueError, match="do not name an entry"):
        cache.write(kind, key, b"")


def test_nothing_is_left_open_where_an_entry_is_refused(cache, written):
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("this system does not list a process's open files")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        written.write_bytes(b"damaged")
        assert open_entry(written, "tokens", KEY) is None
        written.mkdir()
        with pytest.raises(OSError, match="directory"):
            open_entry(written, "tokens", KEY)
        written.rmdir()
    assert len(list(descriptors.iterdir())) == before
