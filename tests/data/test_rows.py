"""Texts of several rows: each row is the window that a plain slice gives, and nothing is lost on the way to a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_batches import CLS, PAD, SEP, text_of, word_tokenizer
from test_tokens import same, silent
from transformers import AutoTokenizer

from pennyweight.cache import Cache
from pennyweight.data.batches import (
    TokenTable,
    collate,
    longest_whole,
    offsets_of,
    sequential_batches,
    split_by_tokens,
    starts_of,
    tokenise,
)
from pennyweight.data.tokens import tokenise_cached


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


WORDS = (1, 7, 8, 9, 13, 14, 15, 40, 200, 3)


def row(table: TokenTable, number: int) -> list[int]:
    return table.ids[table.offsets[number] : table.offsets[number + 1]].tolist()


def random_table(texts: int, *, seed: int = 0) -> TokenTable:
    """Texts of 1 to 5 rows of 1 to 12 tokens; every token has a number of its own."""
    generator = np.random.default_rng(seed)
    windows = generator.integers(1, 6, texts)
    offsets = offsets_of(generator.integers(1, 13, windows.sum()))
    ids = np.arange(offsets[-1], dtype=np.int32)
    return TokenTable(ids, offsets, np.full(texts, 99), starts_of(windows))


@pytest.mark.parametrize(("windows", "overlap"), [(2, 0), (3, 3), (4, 1), (256, 2)])
def test_windows_are_slices_of_the_text_with_special_tokens_around_each(tokenizer, windows, overlap):
    inside = 8  # of 10 tokens
    texts = [text_of(count, count) for count in WORDS]
    table = tokenise(texts, tokenizer, max_length=10, windows=windows, overlap=overlap)
    assert len(table) == len(texts)
    for index, text in enumerate(texts):
        words = [tokenizer.vocab[word] for word in text.split()]
        begins = range(0, max(1, len(words) - overlap), inside - overlap)
        expected = [[CLS, *words[begin : begin + inside], SEP] for begin in begins][:windows]
        assert [row(table, number) for number in table.rows(np.array([index]))] == expected
        assert table.lengths()[index] == sum(map(len, expected))
        assert table.widths()[index] == max(map(len, expected))
        assert table.windows()[index] == len(expected)
        assert table.full_lengths[index] == len(words) + 2
    assert table.longest == 10
    whole = longest_whole(tokenizer, max_length=10, windows=windows, overlap=overlap)
    for count in (whole - 2, whole - 1):
        text = text_of(count)
        table = tokenise([text], tokenizer, max_length=10, windows=windows, overlap=overlap)
        last_word = tokenizer.vocab[text.split()[-1]]
        assert (row(table, len(table.offsets) - 2)[-2] == last_word) == (table.full_lengths[0] <= whole)


def test_one_window_is_what_was_cut_before(tokenizer):
    texts = [text_of(count) for count in WORDS]
    plain = tokenise(texts, tokenizer, max_length=10)
    assert plain.starts is None
    assert same(tokenise(texts, tokenizer, max_length=10, windows=1, overlap=3), plain)
    several = tokenise(texts, tokenizer, max_length=10, windows=3, overlap=3)
    firsts = [row(several, number) for number in several.starts[:-1]]
    assert firsts == [row(plain, number) for number in range(len(texts))]
    np.testing.assert_array_equal(several.full_lengths[:8], plain.full_lengths[:8])  # the ninth is a lower bound


def test_texts_that_fit_one_window_make_a_plain_table(tokenizer):
    texts = [text_of(count) for count in (1, 8, 0)]
    several = tokenise(texts, tokenizer, max_length=10, windows=4, overlap=3)
    assert same(several, tokenise(texts, tokenizer, max_length=10))
    assert several.starts is several.windows() is None
    assert "starts" not in collate(several, np.array([1, 0]), pad_id=PAD)
    assert tokenise([], tokenizer, max_length=10, windows=4, overlap=3).starts is None


def test_a_text_of_a_megabyte_fills_its_windows_and_no_more(tokenizer):
    table = tokenise([text_of(300_000), text_of(400)], tokenizer, max_length=16, windows=5, overlap=4)
    assert table.windows().tolist() == [5, 5]
    assert [row(table, number) for number in range(5)] == [row(table, number) for number in range(5, 10)]
    assert table.full_lengths[0] > 16 * 5


def test_some_of_the_texts_keep_their_rows():
    table = random_table(40)
    items = np.random.default_rng(1).permutation(40)[:25]
    part = table.take(items)
    assert len(part) == 25
    for place, item in enumerate(items):
        ours, theirs = (one.rows(np.array([number])) for one, number in ((part, place), (table, item)))
        assert [row(part, number) for number in ours] == [row(table, number) for number in theirs]
    for name in ("lengths", "widths", "windows"):
        np.testing.assert_array_equal(getattr(part, name)(), getattr(table, name)()[items])
    one_row_each = table.take(np.flatnonzero(table.windows() == 1))
    assert one_row_each.starts is None
    assert len(table.take(items[:0])) == 0
    unrolled = table.unrolled()
    assert len(unrolled) == len(table.offsets) - 1
    assert unrolled.unrolled() is unrolled
    np.testing.assert_array_equal(unrolled.ids, table.ids)
    np.testing.assert_array_equal(unrolled.full_lengths, np.diff(table.offsets))


def test_a_batch_holds_the_rows_of_its_texts_side_by_side():
    table = random_table(30)
    items = np.array([7, 3, 29, 7])
    batch = collate(table, items, pad_id=-1)
    starts = batch["starts"].tolist()
    assert batch["starts"].dtype == torch.int64
    assert len(starts) == len(items) + 1
    assert starts[-1] == len(batch["input_ids"])
    for place, item in enumerate(items):
        rows = [
            ids[seen.bool()].tolist() for ids, seen in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ][starts[place] : starts[place + 1]]
        assert rows == [row(table, number) for number in table.rows(np.array([item]))]
    fixed = collate(table, items, pad_id=-1, length=20)
    assert fixed["input_ids"].shape == (starts[-1], 20)
    with pytest.raises(ValueError, match="does not fit"):
        collate(table, items, pad_id=-1, length=2)


@pytest.mark.parametrize("width", [None, 12])
def test_parts_of_a_batch_count_every_row(width):
    table = random_table(60)
    widths, rows = table.widths(), table.windows()
    items = np.random.default_rng(2).permutation(60)[:40]
    parts = split_by_tokens(items, widths, tokens=70, width=width, rows=rows)
    assert sorted(np.concatenate(parts)) == sorted(items)
    sizes = [int(rows[part].sum() * (width or widths[part].max())) for part in parts]
    assert all(size <= 70 or len(part) == 1 for size, part in zip(sizes, parts, strict=True))
    assert np.mean(sizes) > 40
    large = int(rows[items].sum() * (width or widths[items].max()))
    assert split_by_tokens(items, widths, tokens=large, width=width, rows=rows) == [items]
    for batch in sequential_batches(widths, batch_size=8, tokens=70, rows=rows):
        assert len(batch) == 1 or rows[batch].sum() * widths[batch].max() <= 70
    whole = sequential_batches(widths, batch_size=8, tokens=70, rows=rows)
    assert sorted(np.concatenate(whole)) == list(range(60))


@pytest.mark.parametrize("kind", ["tiny_roberta", "tiny_bert"])
def test_windows_come_from_the_cache_as_they_went_in(kind, tmp_path, request, monkeypatch):
    monkeypatch.setattr("pennyweight.data.tokens._CHUNK", 50)
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(kind))
    cache = Cache(tmp_path, 10**9)
    texts = ["the quay " * count for count in (1, 9, 30, 2, 80)] * 12  # two chunks
    cuts = [{"windows": 3, "overlap": 2}, {"windows": 2, "overlap": 2}, {"windows": 3, "overlap": 0}, {}]
    tables = [tokenise(texts, tokenizer, max_length=12, **cut) for cut in cuts]
    for cut, table in zip(cuts, tables, strict=True):
        assert same(tokenise_cached(texts, tokenizer, max_length=12, **cut, cache=cache), table)
    assert len(cache.entries()) == 2 * len(cuts)
    for cut, table in zip(cuts, tables, strict=True):
        again = tokenise_cached(texts, silent(tokenizer), max_length=12, **cut, cache=cache)
        assert same(again, table)
    assert not same(tables[0], tables[2])
