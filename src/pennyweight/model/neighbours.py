"""Words that a backbone holds to be alike: nearest neighbours among the rows of its input embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.errors import InputError
from pennyweight.model.backbone import BackboneFiles, load_tokenizer

NEIGHBOURS = 5
"""Most neighbours of a word."""
LEAST_COSINE = 0.5
"""Cosine below which two words are not held to be alike."""

_BLOCK = 512
_SHORTLIST = 32


class Neighbours:
    """Words by their nearest neighbours; whole words of the vocabulary alone, in its small letters.

    Blocks of 512 words are compared with all others when the first of them is asked for, and kept.
    """

    def __init__(self, words: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Take the vocabulary's whole words, [words], and their embeddings, [words, width]."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        self._words = tuple(words)
        self._places = {word: place for place, word in enumerate(self._words)}
        self._found: dict[int, list[tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self._words)

    def __call__(self, word: str) -> Sequence[str]:
        """Neighbours of a word, nearest first, at most five of a cosine of at least 0.5; none for an unknown word."""
        place = self._places.get(word)
        if place is None:
            return ()
        block = place // _BLOCK
        if block not in self._found:
            self._found[block] = self._neighbours_of(block)
        return self._found[block][place % _BLOCK]

    def _neighbours_of(self, block: int) -> list[tuple[str, ...]]:
        """Neighbours of the words of a block.

        The product in fp32 makes a short list. What is on it is compared again in fp64, so that no rounding of a
        matrix library's decides between two words.
        """
        rows = self._unit[block * _BLOCK : (block + 1) * _BLOCK]
        shown = min(_SHORTLIST, len(self._unit))
        near = np.argpartition(rows @ self._unit.T, -shown, axis=1)[:, -shown:]
        near.sort(axis=1)
        found = []
        for offset, candidates in enumerate(near):
            own = block * _BLOCK + offset
            cosines = self._unit[candidates].astype(np.float64) @ rows[offset].astype(np.float64)
            ranked = [place for place in np.argsort(-cosines, kind="stable") if cosines[place] >= LEAST_COSINE]
            alike = [self._words[candidates[place]] for place in ranked if candidates[place] != own]
            found.append(tuple(alike[:NEIGHBOURS]))
        return found


def open_neighbours(files: BackboneFiles, *, add_prefix_space: bool = False) -> Neighbours:
    """The neighbours that a backbone's own embedding gives.

    Raises:
        InputError: the weights cannot be read, or no word is whole in the vocabulary.
    """
    tokenizer = load_tokenizer(files, add_prefix_space=add_prefix_space)
    places = whole_words(tokenizer)
    if not places:
        raise InputError(f"backbone {files.name}: its vocabulary has no whole words to take synonyms from")
    matrix = read_embedding(files)
    return Neighbours(tuple(places), matrix[list(places.values())])


def whole_words(tokenizer: Any) -> Mapping[str, int]:
    """Words of two letters or more, in small letters, that are one token when a space stands before them, with its id.

    Of a vocabulary that tells capitals apart only the words in small letters are taken.
    """
    backend = tokenizer.backend_tokenizer
    tokenizer("", truncation=False, padding=False)  # with which Transformers tells the backend not to pad
    ids = range(backend.get_vocab_size(with_added_tokens=False))
    decoded = backend.decode_batch([[number] for number in ids], skip_special_tokens=True)
    candidates = {
        number: word
        for number, text in zip(ids, decoded, strict=True)
        if (word := text.strip()).isalpha() and word.islower() and len(word) > 1
    }
    encodings = backend.encode_batch([f" {word}" for word in candidates.values()], add_special_tokens=False)
    return {
        word: number
        for (number, word), encoding in zip(candidates.items(), encodings, strict=True)
        if encoding.ids == [number]
    }


def read_embedding(files: BackboneFiles) -> NDArray[np.float32]:
    """A backbone's input embedding, [vocabulary, width], read from its weight files alone.

    Raises:
        InputError: the weights cannot be read, or hold no such matrix.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoModel

    from pennyweight.budget.shapes import make_config

    with torch.device("meta"):
        model = AutoModel.from_config(make_config(files.config))
    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding) + ".weight"
    for path in sorted(files.folder.glob("model*.safetensors")):
        try:
            with safe_open(path, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - not a mapping
                    if key == name or key.endswith(f".{name}"):
                        return np.asarray(tensors.get_tensor(key).float().numpy())
        except (SafetensorError, OSError) as error:
            raise InputError(f"backbone {files.name}: {path} cannot be read: {error}") from None
    raise InputError(f"backbone {files.name}: its weights hold no input embedding {name}")
