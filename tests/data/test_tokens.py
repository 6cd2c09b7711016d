"""Tokens from the cache are the tokens that tokenising gives, whatever happens to the cache."""

from __future__ import annotations

import json
import os
import random
import shutil
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import AutoTokenizer

from pennyweight.cache import Cache
from pennyweight.cache_entry import HEADER_SIZE, Entry, entry_path
from pennyweight.data.batches import TokenTable, tokenise
from pennyweight.data.tokens import tokenise_cached

CHUNK = 4000


@pytest.fixture(scope="module", params=["tiny_roberta", "tiny_bert"])
def tokenizer(request):
    return AutoTokenizer.from_pretrained(request.getfixturevalue(request.param))


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", 10**9)


ALPHABETS = (
    range(32, 127),
    range(0x4E00, 0x4F00),  # CJK
    range(0x0600, 0x0700),  # Arabic
    range(0x0900, 0x0980),  # Devanagari
    range(0x1F600, 0x1F650),  # emoji
    range(0x0300, 0x0370),  # combining marks
    [0x00, 0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x200B, 0x200D, 0x2028, 0x3000, 0xFEFF, 0xFFFD],
)


def random_texts(count: int, seed: int) -> list[str]:
    """Texts of all scripts, mixed and not, empty and long, with markup that looks like special tokens."""
    generator = random.Random(seed)
    texts = ["", " ", "\n", "<s></s><pad> [CLS] [SEP]", "w" * 3000, "the quay " * 2000, "\u6771" * 20_000]
    while len(texts) < count:
        alphabets = generator.sample(ALPHABETS, generator.choice([1, 1, 2, 4]))
        length = int(generator.expovariate(1 / 40))
        texts.append("".join(chr(generator.choice(generator.choice(alphabets))) for _ in range(length)))
    generator.shuffle(texts)
    return texts


def same(one: TokenTable, other: TokenTable) -> bool:
    rows = [None if table.starts is None else table.starts.tolist() for table in (one, other)]
    return rows[0] == rows[1] and all(
        getattr(one, name).dtype == getattr(other, name).dtype
        and np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("ids", "offsets", "full_lengths")
    )


def cached(texts, tokenizer, cache, *, max_length: int = 16) -> TokenTable:
    return tokenise_cached(texts, tokenizer, max_length=max_length, cache=cache)


def silent(tokenizer):
    """A tokenizer that can be told what to do and written down, but gives no tokens of any text."""

    def set_up(text: str, **options: object) -> None:
        assert text == ""
        tokenizer(text, **options)

    set_up.backend_tokenizer = SimpleNamespace(to_str=tokenizer.backend_tokenizer.to_str, encode_special_tokens=False)
    return set_up


@pytest.mark.parametrize("max_length", [3, 16, 128])
def test_tokens_are_those_of_the_public_call_of_transformers(tokenizer, max_length):
    texts = [text[: 64 * max_length] for text in random_texts(2200, seed=max_length)]
    table = tokenise(texts, tokenizer, max_length=max_length)
    lists = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    assert table.ids.tolist() == [token for one in lists for token in one]
    assert table.lengths().tolist() == [len(one) for one in lists]
    assert table.full_lengths.tolist() == [len(one) for one in tokenizer(texts, verbose=False)["input_ids"]]


@pytest.mark.parametrize("seed", range(3))
def test_cold_and_warm_are_what_tokenising_gives(tokenizer, cache, seed):
    texts = random_texts(300, seed)
    expected = tokenise(texts, tokenizer, max_length=16)
    assert same(cached(texts, tokenizer, cache), expected)
    assert same(cached(texts, silent(tokenizer), cache), expected)
    assert cache.trouble is None


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_any_number_of_texts(tokenizer, cache, count):
    texts = [f"the ship {number}" for number in range(count)]
    expected = tokenise(texts, tokenizer, max_length=16)
    assert len(expected) == count
    assert same(cached(texts, tokenizer, cache), expected)
    assert len(cache.entries()) == -(-count // CHUNK)
    assert same(cached(tuple(texts), silent(tokenizer) if count else tokenizer, cache), expected)


def test_only_what_is_new_is_tokenised(tokenizer, cache):
    texts = [f"the ship {number}" for number in range(2 * CHUNK)]
    cached(texts, tokenizer, cache)
    before = {entry.key for entry in cache.entries()}
    texts[-1] = "another text"
    texts.append("one more")
    assert same(cached(texts, tokenizer, cache), tokenise(texts, tokenizer, max_length=16))
    assert len({entry.key for entry in cache.entries()} - before) == 2
    assert same(cached(texts[:CHUNK], silent(tokenizer), cache), tokenise(texts[:CHUNK], tokenizer, max_length=16))


def test_other_settings_are_other_entries(tokenizer, cache):
    texts = random_texts(50, seed=4)
    left = AutoTokenizer.from_pretrained(tokenizer.name_or_path, truncation_side="left")
    cached(texts, tokenizer, cache)
    assert same(cached(texts, tokenizer, cache, max_length=17), tokenise(texts, tokenizer, max_length=17))
    assert same(cached(texts, left, cache), tokenise(texts, left, max_length=16))
    assert not same(cached(texts, left, cache), cached(texts, tokenizer, cache))
    assert len(cache.entries()) == 3


def test_whatever_changes_the_backend_is_another_entry(cache, tiny_bert, tmp_path):
    """Transformers rebuilds parts of it from tokenizer_config.json, other parts change when it is used."""
    texts = ["Les CAF\u00c9S de l'\u00eele [SEP] the ship", "The quay"]
    expected = {}
    for name, changes in (("none", {}), ("cased", {"do_lower_case": False}), ("split", {"split_special_tokens": True})):
        folder = Path(shutil.copytree(tiny_bert, tmp_path / name))
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        expected[name] = tokenise(texts, AutoTokenizer.from_pretrained(folder), max_length=16)
        assert same(cached(texts, tokenizer, cache), expected[name])
    assert not same(expected["none"], expected["cased"])
    assert not same(expected["none"], expected["split"])
    assert len(cache.entries()) == 3


def test_what_was_done_with_a_tokenizer_before_does_not_matter(tokenizer, cache):
    texts = random_texts(20, seed=11)
    expected = cached(texts, AutoTokenizer.from_pretrained(tokenizer.name_or_path), cache)
    tokenizer(["the ship", "a"], padding="max_length", max_length=9, truncation=True)
    assert same(cached(texts, tokenizer, cache), expected)
    assert len(cache.entries()) == 1


def test_tokens_of_a_tokenizer_with_parts_in_python_are_not_kept(cache, tiny_bert):
    class Alone:
        def pre_tokenize(self, pretok) -> None: ...

    texts = ["the ship", "ship"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.backend_tokenizer.pre_tokenizer = PreTokenizer.custom(Alone())
    assert same(cached(texts, tokenizer, cache), tokenise(texts, tokenizer, max_length=16))
    assert cache.entries() == []


def test_tokens_of_another_version_of_the_library_are_not_taken(tokenizer, cache, monkeypatch):
    texts = random_texts(20, seed=5)
    cached(texts, tokenizer, cache)
    monkeypatch.setattr("pennyweight.data.tokens.metadata.version", lambda name: f"another {name}")
    cached(texts, tokenizer, cache)
    assert len(cache.entries()) == 2


@pytest.mark.parametrize(
    ("texts", "others"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a", ""], ["a"]),
        (["", "a"], ["a", ""]),
        (["a", "b"], ["b", "a"]),
        (["a\0b"], ["a", "b"]),
        (["é"], ["e\u0301"]),
        (["\ufeffa"], ["a"]),
    ],
)
def test_texts_that_read_alike_are_told_apart(tokenizer, cache, texts, others):
    cached(texts, tokenizer, cache)
    assert same(cached(others, tokenizer, cache), tokenise(others, tokenizer, max_length=16))
    assert len(cache.entries()) == 2


def test_a_damaged_cache_is_computed_again(tokenizer, cache):
    texts = random_texts(200, seed=6)
    expected = cached(texts, tokenizer, cache)
    (stored,) = cache.entries()
    path = Path(stored.path)
    whole = path.read_bytes()
    generator = random.Random(6)
    damages = [b"", whole[:10], whole[: len(whole) // 2], whole[:-1], whole + b"\0", bytes(len(whole))]
    for _ in range(20):
        flipped = bytearray(whole)
        flipped[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        damages.append(bytes(flipped))
    for damaged in damages:
        path.write_bytes(damaged)
        assert same(cached(texts, tokenizer, cache), expected)
        assert path.read_bytes() == whole
    assert cache.trouble is None


def test_an_entry_that_is_torn_away_while_it_is_read_is_computed_again(tokenizer, cache):
    class Torn(Cache):
        def read(self, kind: str, key: str) -> Entry | None:
            entry = super().read(kind, key)
            if entry is not None:
                os.truncate(entry_path(self.folder, kind, key), HEADER_SIZE + 8)
            return entry

    texts = random_texts(100, seed=7)
    expected = cached(texts, tokenizer, cache)
    torn = Torn(cache.folder, cache.limit)
    assert same(cached(texts, tokenizer, torn), expected)
    assert "ends too early" in torn.trouble
    assert same(cached(texts, silent(tokenizer), cache), expected)


def test_a_cache_that_keeps_nothing_changes_nothing(tokenizer, tmp_path):
    texts = random_texts(100, seed=8)
    expected = tokenise(texts, tokenizer, max_length=16)
    (tmp_path / "file").write_text("mine")
    for cache in (Cache(tmp_path / "off", 0), Cache(tmp_path / "small", 100), Cache(tmp_path / "file" / "in", 10**9)):
        for _ in range(2):
            assert same(cached(texts, tokenizer, cache), expected)
        assert cache.entries() == []


def test_tokens_survive_the_loss_of_the_cache(tokenizer, cache):
    texts = random_texts(100, seed=9)
    cached(texts, tokenizer, cache)
    table = cached(texts, silent(tokenizer), cache)
    shutil.rmtree(cache.folder)
    assert same(table, tokenise(texts, tokenizer, max_length=16))


def test_tables_from_the_cache_serve_like_others(tokenizer, cache):
    texts = random_texts(60, seed=10)
    items = np.array([5, 0, 59, 5])
    cached(texts, tokenizer, cache)
    assert same(
        cached(texts, silent(tokenizer), cache).take(items),
        tokenise([texts[i] for i in items], tokenizer, max_length=16),
    )


def test_real_texts(real_data, minilm, cache):
    from pennyweight.data.readers import read_rows
    from pennyweight.model.backbone import find_backbone, load_tokenizer

    tokenizer = load_tokenizer(find_backbone(minilm), add_prefix_space=False)
    texts = [row.values["text"] for row in islice(read_rows(real_data / "agnews" / "train.parquet"), 4500)]
    expected = tokenise(texts, tokenizer, max_length=32)
    lists = tokenizer(texts, truncation=True, max_length=32)["input_ids"]
    assert expected.ids.tolist() == [token for one in lists for token in one]
    assert (expected.full_lengths > 32).any()
    assert same(cached(texts, tokenizer, cache, max_length=32), expected)
    assert same(cached(texts, silent(tokenizer), cache, max_length=32), expected)
