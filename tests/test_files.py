from __future__ import annotations

import errno
import os
import stat

import pytest
from filelock import FileLock

from pennyweight.errors import InputError, RunError
from pennyweight.files import atomic_writer, held, write_bytes, write_json, write_text


def test_what_is_written_is_read_back(tmp_path):
    write_bytes(tmp_path / "new" / "deep" / "a", b"\0\xff")
    write_text(tmp_path / "b", "naïve 東京\n")
    write_json(tmp_path / "c", {"name": "naïve", "none": None})
    assert (tmp_path / "new" / "deep" / "a").read_bytes() == b"\0\xff"
    assert (tmp_path / "b").read_bytes() == "naïve 東京\n".encode()
    assert (tmp_path / "c").read_text("utf-8") == '{\n  "name": "naïve",\n  "none": null\n}\n'
    assert {path.name for path in tmp_path.iterdir()} == {"new", "b", "c"}


def test_the_name_is_taken_only_when_the_file_is_complete(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with atomic_writer(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("broken off"), KeyboardInterrupt()])
def test_broken_off_the_old_file_stays_and_nothing_else(error, tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_writer(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_behind(call, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(RunError) as caught:
        write_bytes(tmp_path / "a", b"content")
    assert f"cannot write {tmp_path / 'a'}: No space left on device" in str(caught.value)
    assert "free some space" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write"):
        write_bytes(tmp_path / "file" / "a", b"content")


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path):
    lock = tmp_path / "new" / "lock"
    for _ in range(2):
        with held(lock, refusal="taken"):
            with pytest.raises(InputError, match="taken"), held(lock, refusal="taken"):
                pass
            assert lock.exists()
        assert not lock.exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write"), held(tmp_path / "file" / "lock", refusal="taken"):
        pass


def test_a_lock_that_is_given_back_is_not_that_of_another(tmp_path, monkeypatch):
    """Once it can be had by others, its file is theirs: no longer to be removed."""
    lock, really = tmp_path / "lock", FileLock.release
    taken = []

    def release(holder, *arguments, **options):
        really(holder, *arguments, **options)
        if not taken:
            taken.append(FileLock(lock))
            taken[0].acquire(timeout=0)

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "release", release)
        with held(lock, refusal="taken"):
            pass
    assert lock.exists()
    with pytest.raises(InputError, match="taken"), held(lock, refusal="taken"):
        pass
    taken[0].release()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_lock_file_that_lost_its_name_is_not_enough(replaced, tmp_path, monkeypatch):
    """Between opening and locking it, its former holder may have removed it, and another process made a new one."""
    lock, really = tmp_path / "folder" / "lock", FileLock.acquire
    calls = []

    def acquire(holder, *arguments, **options):
        calls.append(holder)
        proxy = really(holder, *arguments, **options)
        if len(calls) == 1:
            lock.rename(tmp_path / "removed")
            if replaced:
                lock.touch()
            else:
                lock.parent.rmdir()
        return proxy

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with held(lock, refusal="taken"):
        assert lock.exists()
        with pytest.raises(InputError, match="taken"), held(lock, refusal="taken"):
            pass
    assert not lock.exists()
    assert len(calls) == 3


def test_a_lock_file_removed_while_it_is_being_locked_is_made_again(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    lock, really = tmp_path / "lock", fcntl.flock
    removed = []

    def flock(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append(lock)
            lock.unlink()
        really(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(lock, refusal="taken"):
        assert lock.exists()
    assert removed
