from __future__ import annotations

import sys

import pytest

from pennyweight.data.wordnet import open_wordnet
from pennyweight.errors import InputError

nltk = pytest.importorskip("nltk")

NOUNS = {"automobile": ("car", "auto", "motor_car"), "boat": ("ship",)}
POSES = ("noun", "verb", "adj", "adv")


def write_database(folder) -> None:
    """A WordNet of two synsets in WordNet's own format: offsets are in bytes, and lines of headers are indented."""
    folder.mkdir(parents=True)
    lines, offsets = "  1 made for a test\n", {}
    for number, (first, others) in enumerate(NOUNS.items()):
        names = (first, *others)
        offsets[names] = len(lines)
        words = " ".join(f"{name} 0" for name in names)
        lines += f"{len(lines):08d} 06 n {len(names):02x} {words} 000 | gloss {number}\n"
    index = "".join(
        f"{name} n 1 0 1 0 {offset:08d}\n" for name, offset in sorted((n, o) for ns, o in offsets.items() for n in ns)
    )
    for pos in POSES:
        (folder / f"data.{pos}").write_text(lines if pos == "noun" else "")
        (folder / f"index.{pos}").write_text(index if pos == "noun" else "")
        (folder / f"{pos}.exc").write_text("")
    (folder / "lexnames").write_text("".join(f"{number:02d}\tnoun.any\t1\n" for number in range(45)))
    for name in ("cntlist.rev", "index.sense"):
        (folder / name).write_text("")


@pytest.fixture
def nltk_data(tmp_path, monkeypatch):
    """NLTK looks for its data in an empty folder, and forgets afterwards what it has found there."""
    from nltk.corpus import wordnet

    if hasattr(wordnet, "_unload"):
        wordnet._unload()
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    yield tmp_path
    if "_lemma_pos_offset_map" in vars(wordnet):
        wordnet._unload()


def test_synonyms_are_all_lemmas_of_all_meanings_but_the_word(nltk_data):
    write_database(nltk_data / "corpora" / "wordnet")
    synonyms = open_wordnet()
    assert synonyms("car") == ("auto", "automobile", "motor car")
    assert synonyms("cars") == ("auto", "automobile", "car", "motor car")
    assert synonyms("ship") == ("boat",)
    assert synonyms("nothing") == ()


def test_what_to_do_without_the_data(nltk_data):
    with pytest.raises(InputError, match=r"NLTK finds no WordNet: .*python -m nltk\.downloader wordnet"):
        open_wordnet()


def test_what_to_do_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(InputError, match=r"pip install 'pennyweight\[wordnet\]'"):
        open_wordnet()
