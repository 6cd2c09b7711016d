from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file
from tiny import make_backbone

from pennyweight.errors import InputError
from pennyweight.model import neighbours
from pennyweight.model.backbone import find_backbone, load_tokenizer
from pennyweight.model.neighbours import Neighbours, open_neighbours, read_embedding, whole_words


def cosine(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_neighbours_are_the_nearest_by_cosine(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 3)).astype(np.float32) * generator.uniform(0.1, 9, size=(40, 1))
    vectors = vectors.astype(np.float32)
    words = tuple(f"w{number}" for number in range(40))
    near = Neighbours(words, vectors)
    for number, word in enumerate(words):
        others = sorted(set(range(40)) - {number}, key=lambda other: -cosine(vectors[number], vectors[other]))
        expected = [words[other] for other in others[:5] if cosine(vectors[number], vectors[other]) >= 0.5]
        assert list(near(word)) == expected
    assert near("unknown") == ()


def test_words_without_a_direction_have_no_neighbours():
    near = Neighbours(("zero", "one", "same"), np.array([[0, 0], [1, 0], [2, 0]], dtype=np.float32))
    assert [near(word) for word in ("zero", "one", "same")] == [(), ("same",), ("one",)]


@pytest.mark.parametrize("kind", ["roberta", "bert", "electra", "distilbert"])
def test_whole_words_and_their_rows_of_the_embedding(kind, tmp_path):
    folder = make_backbone(tmp_path / kind, kind)
    files = find_backbone(str(folder))
    tokenizer = load_tokenizer(files, add_prefix_space=False)
    words = whole_words(tokenizer)
    assert {"ship", "hammer", "with"} & set(words)
    for word, number in words.items():
        assert tokenizer(f" {word}", add_special_tokens=False)["input_ids"] == [number]
        assert word.isalpha()
        assert word == word.lower()
    stored = load_file(folder / "model.safetensors")
    expected = next(tensor for name, tensor in stored.items() if name.endswith("word_embeddings.weight"))
    np.testing.assert_array_equal(read_embedding(files), expected.numpy())
    near = open_neighbours(files)
    assert len(near) == len(words)
    for word in list(words)[:20]:
        for other in near(word):
            assert cosine(expected[words[word]].numpy(), expected[words[other]].numpy()) >= 0.4999


def test_the_embedding_of_real_words_brings_kin_together(minilm):
    near = open_neighbours(find_backbone(minilm))
    assert len(near) > 15_000
    assert {"companies"} <= set(near("company"))
    assert len(near("xqzzt")) == 0


def test_weights_without_an_embedding_are_refused(tmp_path):
    from safetensors.torch import save_file

    folder = make_backbone(tmp_path / "bert", "bert")
    tensors = load_file(folder / "model.safetensors")
    files = find_backbone(str(folder))
    save_file({name: one for name, one in tensors.items() if "word_emb" not in name}, folder / "model.safetensors")
    with pytest.raises(InputError, match="hold no input embedding"):
        read_embedding(files)
