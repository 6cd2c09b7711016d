from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pennyweight.data.batches import TokenTable, collate, epoch_batches, sequential_batches, split_by_tokens, tokenise
from pennyweight.data.readers import read_rows

PAD, CLS, SEP = 0, 1, 2


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Fifty words, w0 to w49, each a token."""
    words = {"[PAD]": PAD, "[CLS]": CLS, "[SEP]": SEP, "[UNK]": 3} | {f"w{number}": number + 4 for number in range(50)}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")


def text_of(words: int, start: int = 0) -> str:
    return " ".join(f"w{(start + number) % 50}" for number in range(words))


def lengths_like_news(items: int = 20_000) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.clip(generator.gamma(9, 6, items), 7, 128).astype(np.int64)


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - lengths.sum() / padded


def test_the_table_holds_what_the_tokenizer_gives_text_by_text(tokenizer):
    texts = [text_of(1 + number * 7 % 23, number) for number in range(4500)]  # more than two chunks
    table = tokenise(texts, tokenizer, max_length=12)
    assert table.ids.dtype == np.int32
    assert table.offsets.dtype == np.int64
    assert len(table) == len(texts)
    for index in [*range(0, 4500, 371), 1999, 2000, 4499]:
        expected = tokenizer(texts[index], truncation=True, max_length=12)["input_ids"]
        assert table.ids[table.offsets[index] : table.offsets[index + 1]].tolist() == expected
    np.testing.assert_array_equal(table.lengths(), np.minimum(table.full_lengths, 12))


def test_full_lengths_count_what_was_cut_off(tokenizer):
    words = [1, 10, 11, 12, 29, 30, 31, 200]
    table = tokenise([text_of(count) for count in words], tokenizer, max_length=12)
    assert table.full_lengths.tolist() == [count + 2 for count in words]
    assert table.lengths().max() == 12
    ends = table.ids[table.offsets[1:] - 1]
    assert (ends == SEP).all()


def test_a_text_of_a_megabyte_gives_the_same_tokens(tokenizer):
    table = tokenise([text_of(300_000), text_of(300)], tokenizer, max_length=16)
    first, second = (table.ids[table.offsets[index] : table.offsets[index + 1]].tolist() for index in (0, 1))
    assert first == second
    assert table.full_lengths[0] > 16


def test_no_texts_give_an_empty_table(tokenizer):
    table = tokenise([], tokenizer, max_length=16)
    assert len(table) == 0
    assert table.ids.size == table.lengths().size == 0


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize(("items", "batch_size"), [(0, 4), (1, 4), (3, 4), (4, 4), (1000, 32), (5003, 7), (9, 1)])
def test_every_item_comes_once_per_epoch(order, items, batch_size):
    lengths = lengths_like_news(items)
    batches = epoch_batches(lengths, batch_size=batch_size, seed=3, epoch=1, order=order)
    assert sorted(index for batch in batches for index in batch) == list(range(items))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == -(-items // batch_size)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_batches_depend_on_seed_and_epoch_alone(order):
    lengths = lengths_like_news(2000)

    def deal(seed: int, epoch: int) -> list[list[int]]:
        batches = epoch_batches(lengths, batch_size=16, seed=seed, epoch=epoch, order=order)
        return [batch.tolist() for batch in batches]

    np.random.seed(1)  # global state must not matter
    assert deal(0, 0) == deal(0, 0)
    assert len({str(deal(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_sorting_leaves_little_padding_and_a_random_course():
    lengths = lengths_like_news()
    batches = epoch_batches(lengths, batch_size=32, seed=0, epoch=0, order="sorted")
    assert padding_share(lengths, batches) < 0.03
    assert padding_share(lengths, epoch_batches(lengths, batch_size=32, seed=0, epoch=0, order="shuffled")) > 0.3
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.1


def test_the_short_batch_is_not_always_of_the_longest():
    lengths = lengths_like_news(1001)
    short = [
        lengths[epoch_batches(lengths, batch_size=32, seed=0, epoch=epoch, order="sorted")[-1]].mean()
        for epoch in range(20)
    ]
    assert abs(np.mean(short) - lengths.mean()) < 5


@pytest.mark.parametrize(("items", "batch_size", "window"), [(0, 4, 8), (10, 4, 8), (1000, 32, 100), (50, 64, 1)])
def test_sequential_batches_stay_in_their_window_longest_first(items, batch_size, window):
    lengths = lengths_like_news(items)
    batches = sequential_batches(lengths, batch_size=batch_size, window=window)
    assert sorted(index for batch in batches for index in batch) == list(range(items))
    width = -(-window // batch_size) * batch_size
    spans = [{int(index) // width for index in batch} for batch in batches]
    assert all(len(span) == 1 for span in spans)
    assert [min(span) for span in spans] == sorted(min(span) for span in spans)
    for number in {min(span) for span in spans}:
        inside = [
            lengths[index] for batch, span in zip(batches, spans, strict=True) if number in span for index in batch
        ]
        assert inside == sorted(inside, reverse=True)


def test_collate_equals_a_plain_loop(tokenizer):
    texts = [text_of(words, words) for words in (3, 1, 9, 4)]
    table = tokenise(texts, tokenizer, max_length=16)
    indices = np.array([2, 0, 3])
    batch = collate(table, indices, pad_id=PAD)
    expected = tokenizer([texts[index] for index in indices], padding=True, return_tensors="pt")
    for key in ("input_ids", "attention_mask"):
        assert batch[key].dtype == torch.int64
        assert torch.equal(batch[key], expected[key])


def test_collate_pads_to_a_fixed_length(tokenizer):
    table = tokenise([text_of(3)], tokenizer, max_length=16)
    batch = collate(table, np.array([0]), pad_id=49, length=16)
    assert batch["input_ids"].shape == (1, 16)
    assert batch["attention_mask"].sum() == 5
    assert (batch["input_ids"][0, 5:] == 49).all()
    with pytest.raises(ValueError, match="5 tokens"):
        collate(table, np.array([0]), pad_id=0, length=4)


def test_collate_of_an_item_without_tokens_and_of_nothing():
    table = TokenTable(np.array([7, 8], dtype=np.int32), np.array([0, 0, 2]), np.array([0, 2]))
    batch = collate(table, np.array([0, 1]), pad_id=9)
    assert batch["input_ids"].tolist() == [[9, 9], [7, 8]]
    assert batch["attention_mask"].tolist() == [[0, 0], [1, 1]]
    assert collate(table, np.array([], dtype=np.int64), pad_id=9)["input_ids"].shape == (0, 0)


def test_padding_on_ag_news_is_what_the_docstring_says():
    root = os.environ.get("PENNYWEIGHT_DATA")
    if not root:
        pytest.skip("PENNYWEIGHT_DATA is not set: no AG News to measure on")
    rows = read_rows(Path(root) / "agnews" / "train.parquet")
    lengths = np.array([1.3 * len(row.values["text"].split()) for row in rows]).astype(np.int64).clip(1, 128)
    batches = epoch_batches(lengths, batch_size=32, seed=0, epoch=0, order="sorted")
    assert padding_share(lengths, batches) < 0.025


def test_widths_come_in_steps_of_four_up_to_the_longest_text():
    lengths = np.array([3, 5, 9, 18])
    table = TokenTable(np.ones(35, dtype=np.int32), np.concatenate([[0], np.cumsum(lengths)]), lengths)
    widths = [collate(table, np.array([i]), pad_id=0)["input_ids"].shape[1] for i in range(4)]
    assert widths == [4, 8, 12, 18]
    assert collate(table, np.array([0]), pad_id=0, length=7)["input_ids"].shape[1] == 7


@pytest.mark.parametrize("width", [None, 12])
def test_a_batch_that_does_not_fit_is_split_with_every_item_kept(width):
    lengths = np.array([3, 9, 12, 1, 7, 7, 2, 12, 5, 40])
    items = np.array([8, 1, 2, 3, 5, 7])
    parts = split_by_tokens(items, lengths, tokens=24, width=width)
    assert len(parts) > 1
    assert sorted(np.concatenate(parts)) == sorted(items)
    for part in parts:
        assert len(part) * (width or lengths[part].max()) <= 24
    assert split_by_tokens(items, lengths, tokens=72, width=width) == [items]
    alone = split_by_tokens(np.array([9, 0]), lengths, tokens=24)
    assert [part.tolist() for part in alone] == [[9], [0]]


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("sizes", [[90, 7, 3], [33, 33, 34], [1, 1, 1], [5, 0, 95], [100], [1, 300]])
def test_balanced_classes_come_equally_often_in_as_many_batches(order, sizes):
    classes = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    lengths = lengths_like_news(len(classes))
    given = {"batch_size": 8, "seed": 3, "order": order}
    epochs = [epoch_batches(lengths, **given, epoch=epoch, classes=classes) for epoch in range(3)]
    uniform = epoch_batches(lengths, **given, epoch=0)
    for batches in epochs:
        assert sorted(map(len, batches)) == sorted(map(len, uniform))
        items = np.concatenate(batches)
        counts = np.bincount(classes[items], minlength=len(sizes))
        assert np.ptp(counts[np.array(sizes) > 0]) <= 1
        for number, size in enumerate(sizes):
            times = np.bincount(items, minlength=len(classes))[classes == number]
            assert not size or np.ptp(times) <= 1, "no item comes twice before all have come once"
    again = epoch_batches(lengths, **given, epoch=1, classes=classes)
    assert all(np.array_equal(*pair) for pair in zip(again, epochs[1], strict=True))
    if max(sizes) > 1:
        assert not all(np.array_equal(*pair) for pair in zip(epochs[0], epochs[1], strict=True))


def test_a_large_class_shows_other_items_in_every_epoch():
    classes = np.repeat([0, 1], [990, 10])
    lengths = lengths_like_news(1000)
    seen = [
        set(np.concatenate(epoch_batches(lengths, batch_size=16, seed=0, epoch=epoch, order="sorted", classes=classes)))
        for epoch in range(2)
    ]
    first, second = ({item for item in epoch if item < 990} for epoch in seen)
    assert len(first) == len(second) == 500
    assert len(first - second) > 150


def test_nothing_to_balance_gives_no_batches():
    none = np.zeros(0, dtype=np.int64)
    assert epoch_batches(none, batch_size=4, seed=0, epoch=0, order="sorted", classes=none) == []
