"""Small things that many tests share: backbones of a few kilobytes, a table of labelled texts, a recipe for them."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

LABELS = ("orchard", "harbour", "workshop")
WORDS = {
    "orchard": "apple pear plum blossom ladder basket cider graft bee pruning ripe wasp",
    "harbour": "ship rope tide gull anchor mast quay net salt lantern ferry pilot",
    "workshop": "hammer plank screw lathe bench chisel varnish clamp drill sawdust hinge file",
}
FILLERS = "the a old new one many morning evening near under with and before after slowly again they she he"


def sentences(rows: int = 90, *, seed: int = 7) -> list[tuple[str, str]]:
    """Distinct (text, label) pairs, classes in turn, lengths from 4 to 24 words."""
    generator = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < rows:
        label = LABELS[len(made) % len(LABELS)]
        length = generator.randint(4, 24)
        own = WORDS[label].split()
        words = [generator.choice(own if generator.random() < 0.35 else FILLERS.split()) for _ in range(length)]
        text = " ".join([*words, generator.choice(own)])
        made.setdefault(f"{text.capitalize()}.", label)
    return list(made.items())


def tagged(rows: int = 120, *, seed: int = 9) -> list[tuple[str, tuple[str, ...]]]:
    """Distinct (text, labels) pairs of none to three labels, each of which brings words of its own."""
    generator = random.Random(seed)
    made: dict[str, tuple[str, ...]] = {}
    while len(made) < rows:
        labels = tuple(label for label in LABELS if generator.random() < 0.4)
        words = [generator.choice(FILLERS.split()) for _ in range(generator.randint(3, 8))]
        words += [word for label in labels for word in generator.sample(WORDS[label].split(), 3)]
        generator.shuffle(words)
        made.setdefault(f"{' '.join(words).capitalize()}.", labels)
    return list(made.items())


def write_csv(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = ("text", "label")) -> Path:
    """A CSV file of some rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def config_of(kind: str, **changes: Any) -> dict[str, Any]:
    """The contents of config.json of a tiny backbone."""
    common = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 140,
    }
    own: dict[str, dict[str, Any]] = {
        "roberta": {"vocab_size": 400, "type_vocab_size": 1, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
        "bert": {"vocab_size": 300, "type_vocab_size": 2, "pad_token_id": 0},
        "electra": {"vocab_size": 300, "embedding_size": 16, "type_vocab_size": 2, "pad_token_id": 0},
        "deberta-v2": {"vocab_size": 300, "type_vocab_size": 0, "pad_token_id": 0, "relative_attention": True},
        "albert": {"vocab_size": 300, "embedding_size": 16, "type_vocab_size": 2, "pad_token_id": 0},
    }
    if kind == "distilbert":
        table: dict[str, Any] = {"vocab_size": 300, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
        return {"model_type": kind, **table, "max_position_embeddings": 140, "pad_token_id": 0, **changes}
    return {"model_type": kind, **common, **own[kind], **changes}


def full_size_roberta() -> dict[str, Any]:
    """What makes the tiny RoBERTa as large as roberta-base, and as narrowly drawn."""
    from pennyweight.budget.backbones import read_config

    sizes = {key: value for key, value in read_config("roberta-base").items() if key.endswith(("_size", "_embeddings"))}
    return {**sizes, "num_hidden_layers": 12, "num_attention_heads": 12, "initializer_range": 0.05}


def make_backbone(folder: Path, kind: str = "roberta", *, seed: int = 1, **changes: Any) -> Path:
    """Write a randomly initialised backbone: config.json, model.safetensors and its tokenizer's files.

    The weights are drawn wider than an initialisation would be, so that texts and dropout make a visible difference.
    """
    import torch
    from transformers import AutoModel

    from pennyweight.budget.shapes import make_config

    torch.manual_seed(seed)
    model = AutoModel.from_config(make_config(config_of(kind, **{"initializer_range": 0.2, **changes})))
    model.save_pretrained(folder)
    tokenizer = _bpe() if kind == "roberta" else _wordpiece()
    tokenizer.save_pretrained(folder)
    assert len(tokenizer) <= model.config.vocab_size
    return folder


def with_labels(recipe: Any) -> Any:
    """A recipe as it is, or with four labels where it finds them in data that only the Hub has."""
    from pennyweight.api import changed

    names = ["one", "two", "three", "four"]
    return changed(recipe, {"data": {"labels": names}}) if recipe.data.labels == "auto" else recipe


def _bpe() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(_lines(), vocab_size=400, min_frequency=1, special_tokens=special, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


def _wordpiece() -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trained = BertWordPieceTokenizer(lowercase=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained.train_from_iterator(_lines(), vocab_size=300, min_frequency=1, special_tokens=special, show_progress=False)
    return BertTokenizer(vocab=trained.get_vocab())


def _lines() -> list[str]:
    return [text for text, _ in sentences(60, seed=3)]


def table_of(backbone: Path, source: Path, *, epochs: int = 2, batch_size: int = 16) -> dict[str, dict[str, Any]]:
    """A recipe for a tiny backbone, as a nested table; everything that matters to exactness is stated."""
    return {
        "backbone": {"name": str(backbone), "precision": "fp32", "dropout": False},
        "data": {"source": str(source), "labels": list(LABELS), "validation": 0.2},
        "text": {"max_length": 48},
        "adapters": {"targets": "all-linear", "rank": 4},
        "head": {"kind": "linear"},
        "training": {"epochs": epochs, "batch_size": batch_size, "learning_rate": 5e-3},
        "evaluation": {"bootstrap": 100},
    }
