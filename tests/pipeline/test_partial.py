"""Output under way: what is kept, what is cut off, what is refused."""

from __future__ import annotations

import errno
import json
import os

import pyarrow.parquet as pq
import pytest

from pennyweight.data.writers import encoding_of
from pennyweight.errors import InputError, Interrupted, RunError
from pennyweight.files import held
from pennyweight.pipeline.partial import open_partial, partial_folder

COMMAND = {"the data": "abc", "--columns": "row"}
ROWS = [{"row": number} for number in range(5)]


@pytest.fixture(params=[".csv", ".tsv", ".jsonl", ".parquet"])
def out(request, tmp_path):
    return tmp_path / f"p{request.param}"


def opened(out, command=COMMAND, **options):
    return open_partial(out, encoding_of(out, {"row": "int"}), command, **options)


def stop_after(out, rows, *, unsaved=(), **options):
    """Leave an unfinished output behind, some of its rows written but not yet saved."""
    with pytest.raises(Interrupted), opened(out, **options) as partial:
        partial.write(rows)
        partial.save()
        partial.write(unsaved)
        raise Interrupted("stop")


def content(out):
    """The bytes of an output; of Parquet, whose row groups follow how it was written, the rows."""
    return pq.read_table(out).to_pylist() if out.suffix == ".parquet" else out.read_bytes()


def whole(out):
    """What an undisturbed run writes."""
    with opened(out) as partial:
        partial.write(ROWS)
        partial.save(skipped=0)
    written = content(out)
    out.unlink()
    return written


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_output_takes_its_name_at_the_end(out, tmp_path):
    with opened(out) as partial:
        partial.write(ROWS)
        partial.save(skipped=0)
        assert not out.exists()
        assert listed(tmp_path) == [f"{out.name}.partial", *(f"{out.name}.partial/{n}" for n in NAMES)]
    assert listed(tmp_path) == [out.name]


NAMES = ("journal.json", "lock", "rows")


def test_an_output_of_no_rows_is_one_too(out):
    with opened(out) as partial:
        partial.save(skipped=7)
    assert out.exists()
    assert partial.journal.skipped == 7
    if out.suffix in (".csv", ".tsv"):
        assert out.read_text() == "row\n"


@pytest.mark.parametrize("unsaved", [[], ROWS[3:4]])
def test_what_was_saved_stays_and_the_rest_is_cut_off(out, unsaved):
    expected = whole(out)
    stop_after(out, ROWS[:3], unsaved=unsaved)
    with opened(out, resume=True) as partial:
        assert partial.journal.rows == 3
        partial.write(ROWS[3:])
        partial.save(skipped=0)
    assert content(out) == expected
    assert not partial_folder(out).exists()


def test_stopped_again_and_again(out):
    expected = whole(out)
    for done in range(1, 5):
        stop_after(out, ROWS[done - 1 : done], unsaved=ROWS, resume=True)
    with opened(out, resume=True) as partial:
        partial.write(ROWS[4:])
        partial.save(skipped=0)
    assert content(out) == expected


def test_half_a_row_at_the_end_is_cut_off(out):
    expected = whole(out)
    stop_after(out, ROWS[:3])
    with (partial_folder(out) / "rows").open("ab") as file:
        file.write(b"\x00half a ro")
    with opened(out, resume=True) as partial:
        partial.write(ROWS[3:])
        partial.save(skipped=0)
    assert content(out) == expected


def test_rows_that_are_missing_are_noticed(out):
    stop_after(out, ROWS[:3])
    rows = partial_folder(out) / "rows"
    size = json.loads((partial_folder(out) / "journal.json").read_text())["size"]
    os.truncate(rows, size - 1)
    with (
        pytest.raises(InputError, match=r"shorter than when it was saved; remove .*\.partial"),
        opened(out, resume=True),
    ):
        pass
    rows.unlink()
    with pytest.raises(InputError, match="shorter than when it was saved"), opened(out, resume=True):
        pass


def test_killed_after_the_output_took_its_name(out):
    expected = whole(out)
    with pytest.raises(Interrupted), opened(out) as partial:
        partial.write(ROWS)
        partial.save(skipped=2)
        partial.finish()
        raise Interrupted("killed")
    assert out.exists()
    with opened(out, resume=True) as partial:
        assert (partial.journal.rows, partial.journal.skipped) == (5, 2)
    assert content(out) == expected
    assert not partial_folder(out).exists()


def test_an_unfinished_output_asks_for_resume(out):
    stop_after(out, ROWS[:3])
    held_before = listed(out.parent)
    with pytest.raises(InputError) as caught, opened(out):
        pass
    assert str(caught.value) == (
        f"--out {out}: {out}.partial holds 3 rows of an unfinished run; go on with --resume, or remove it"
    )
    assert listed(out.parent) == held_before


def test_an_unfinished_output_of_another_command_is_named(out):
    stop_after(out, ROWS[:3])
    held_before = listed(out.parent)
    other = COMMAND | {"--columns": "label"}
    with (
        pytest.raises(InputError, match=r"unfinished run of another command \(--columns differs\)"),
        opened(out, other),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"--resume: --columns changed since .* was begun"),
        opened(out, other, resume=True),
    ):
        pass
    assert listed(out.parent) == held_before


def test_where_nothing_was_saved_anything_may_begin(out):
    """As after a process that was killed before its first rows were on disk."""
    expected = whole(out)
    folder = partial_folder(out)
    folder.mkdir()
    (folder / ".journal.json.x1y2").write_text('{"com')
    for resume in (False, True):
        with pytest.raises(Interrupted), opened(out, COMMAND | {"the data": "other"}, resume=resume):
            raise Interrupted("stop")
        assert not folder.exists()
        folder.mkdir()
        (folder / "journal.json").write_text(json.dumps({"command": COMMAND, "rows": 0, "size": 0, "skipped": None}))
        (folder / "rows").write_bytes(b"garbage")
    with opened(out, COMMAND | {"the data": "other"}) as partial:
        partial.write(ROWS)
        partial.save(skipped=0)
    assert content(out) == expected


def test_what_cannot_be_used_leaves_nothing(out):
    with pytest.raises(InputError, match="a bad row"), opened(out) as partial:
        partial.write(ROWS)
        partial.save()
        raise InputError("a bad row")
    assert listed(out.parent) == []


def test_folders_made_for_nothing_are_removed(tmp_path):
    out = tmp_path / "new" / "newer" / "p.csv"
    with pytest.raises(InputError, match="a bad row"), opened(out):
        raise InputError("a bad row")
    assert listed(tmp_path) == []
    with opened(out) as partial:
        partial.save(skipped=0)
    assert listed(tmp_path) == ["new", "new/newer", "new/newer/p.csv"]


def test_a_full_disk_keeps_what_was_saved(out, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    expected = whole(out)
    with pytest.raises(RunError) as caught, opened(out) as partial:
        partial.write(ROWS[:3])
        partial.save()
        partial.write(ROWS[3:])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            partial.save()
    assert str(caught.value) == (
        f"cannot write {out}: No space left on device; free some space, then the same command with --resume goes on"
    )
    with opened(out, resume=True) as partial:
        assert partial.journal.rows == 3
        partial.write(ROWS[3:])
        partial.save(skipped=0)
    assert content(out) == expected


def test_an_old_output_stays_until_the_new_one_is_complete(out):
    out.write_text("old")
    stop_after(out, ROWS[:3])
    assert out.read_text() == "old"
    with opened(out, resume=True) as partial:
        partial.save(skipped=0)
        assert out.read_text() == "old"
    assert out.read_bytes() != b"old"


def test_two_processes_do_not_write_the_same_output(out):
    with opened(out) as partial:
        with pytest.raises(InputError, match="another process is writing it"), opened(out, resume=True):
            pass
        partial.write(ROWS)
        partial.save(skipped=0)
    assert out.exists()
    with held(partial_folder(out) / "lock", refusal="held"):
        with pytest.raises(InputError, match="another process is writing it"), opened(out):
            pass
        assert listed(partial_folder(out)) == ["lock"]


def test_what_else_stands_there_is_left_alone(out):
    folder = partial_folder(out)
    folder.write_text("mine")
    with pytest.raises(InputError, match="is in the way"), opened(out, resume=True):
        pass
    assert folder.read_text() == "mine"
    folder.unlink()
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else \(notes\.txt\)"), opened(out, resume=True):
        pass
    assert listed(folder) == ["notes.txt"]


@pytest.mark.parametrize(
    "written", ["", "{", "[]", '{"rows": 1}', '{"command": {}, "rows": "3", "size": 1, "skipped": null}']
)
def test_a_damaged_journal_is_refused(out, written):
    stop_after(out, ROWS[:3])
    (partial_folder(out) / "journal.json").write_text(written)
    refusal = r"journal\.json: cannot be read \(.+\); remove .*\.partial and begin anew"
    with pytest.raises(InputError, match=refusal), opened(out, resume=True):
        pass
    assert (partial_folder(out) / "rows").exists()
