"""Many entries of the cache, few open files: what is read is what was written, whatever was closed meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pennyweight.cache import Cache
from pennyweight.errors import RunError
from pennyweight.model.chunks import Chunks

COUNT = 9
SIZE = 64


def payload(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, SIZE, dtype=np.uint8)


def filled(folder: Path, *, most_open: int) -> Chunks:
    cache, chunks = Cache(folder, 10**9), Chunks(most_open=most_open)
    for number in range(COUNT):
        key = f"{number:064x}"
        assert cache.write("words", key, payload(number))
        chunks.add(cache.read("words", key))
    return chunks


def path_of(folder: Path, number: int) -> Path:
    return next(folder.rglob(f"{number:064x}.bin"))


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def read(chunks: Chunks, number: int, *, begin: int = 0) -> np.ndarray:
    found = np.zeros(SIZE - begin, dtype=np.uint8)
    chunks.read_into(number, found, begin)
    return found


@pytest.mark.parametrize("most_open", [1, 2, COUNT, 64])
def test_any_order_gives_what_was_written(most_open, tmp_path):
    chunks = filled(tmp_path, most_open=most_open)
    assert (len(chunks), chunks.bytes) == (COUNT, COUNT * SIZE)
    for number in np.random.default_rng(0).integers(0, COUNT, 50).tolist():
        assert np.array_equal(read(chunks, number), payload(number))
        assert np.array_equal(read(chunks, number, begin=SIZE - 5), payload(number)[-5:])


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system does not list open files")
def test_no_more_files_are_open_than_may_be(tmp_path):
    before = open_files()
    chunks = filled(tmp_path, most_open=3)
    assert open_files() == before + 3
    for number in range(COUNT):
        read(chunks, number)
        assert open_files() == before + 3


def test_threads_do_not_close_each_others_files(tmp_path):
    chunks = filled(tmp_path, most_open=2)

    def right(number: int) -> bool:
        return np.array_equal(read(chunks, number % COUNT), payload(number % COUNT))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(right, range(2000)))


@pytest.mark.parametrize("what", ["gone", "shorter", "longer"])
def test_a_closed_file_that_has_changed_is_an_error_and_an_open_one_is_read_on(what, tmp_path):
    chunks = filled(tmp_path, most_open=2)
    for number in (0, COUNT - 1):
        path = path_of(tmp_path, number)
        content = path.read_bytes()
        path.unlink()
        if what != "gone":
            path.write_bytes(content[:-1] if what == "shorter" else content + b"x")
    assert np.array_equal(read(chunks, COUNT - 1), payload(COUNT - 1))
    with pytest.raises(RunError, match=f"cannot read {path_of(tmp_path, 0) if what != 'gone' else tmp_path}"):
        read(chunks, 0)
    assert np.array_equal(read(chunks, 1), payload(1))


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system does not list open files")
def test_closed_files_are_opened_again_where_something_is_read(tmp_path):
    before = open_files()
    chunks = filled(tmp_path, most_open=5)
    chunks.close()
    assert open_files() == before
    assert np.array_equal(read(chunks, 2), payload(2))
    assert open_files() == before + 1
