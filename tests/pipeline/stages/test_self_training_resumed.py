"""Self-training stopped in its stages and gone on with."""

from __future__ import annotations

import pytest
from conftest import train_quietly
from stopped import Stopping, sixty_texts, weights

from pennyweight.errors import Interrupted
from pennyweight.pipeline import keeping
from pennyweight.pipeline.folder import NEIGHBOURS
from pennyweight.pipeline.run import train_recipe
from pennyweight.training import likeness


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Sixty texts without labels."""
    return sixty_texts(tmp_path_factory.mktemp("texts"))


def test_stopped_in_every_stage_and_gone_on_with(make_recipe, texts, tmp_path):
    recipe = make_recipe(unlabelled={"source": texts, "rounds": 2, "epochs": 1})
    whole = train_quietly(recipe, tmp_path / "whole").folder
    out = tmp_path / "out"
    for what, step in (("round 1, labeller 1 of 1", 3), ("round 2, labeller 1 of 1", 5), ("training", 4)):
        with pytest.raises(Interrupted, match=f"after step {step}"):
            train_recipe(recipe, out, resume=True, speaker=Stopping(what, step), cpu=True)
    assert len(list((out / "training").glob("labeller-*.safetensors"))) == 2
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(whole)
    assert not (out / "training").exists()


def test_stopped_while_it_looks_where_texts_lie(make_recipe, texts, monkeypatch, tmp_path):
    """In the second of three parts; what is looked at anew afterwards gives the same classifier."""
    monkeypatch.setattr(keeping, "_PART", 50)
    recipe = make_recipe(unlabelled={"source": texts, "labeller": "mixture", "neighbours": 5})
    whole = train_quietly(recipe, tmp_path / "whole").folder
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="stopped while finding clusters"):
        train_recipe(recipe, out, speaker=Stopping("looking where texts lie", 50), cpu=True)
    assert not list((out / "training").glob("*.safetensors"))
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(whole)
    assert not (out / "training").exists()


@pytest.mark.parametrize("sense", ["meaning", "words"])
def test_stopped_while_it_looks_for_neighbours(make_recipe, texts, monkeypatch, tmp_path, sense):
    monkeypatch.setattr(likeness, "_CHUNK", 20)
    recipe = make_recipe(
        unlabelled={"source": texts, "labeller": "mixture", "neighbours": 5, "neighbours_by": ["meaning", "words"]}
    )
    whole = train_quietly(recipe, tmp_path / "whole").folder
    out, what = tmp_path / "out", f"finding neighbours by {sense}"
    with pytest.raises(Interrupted, match=f"stopped while {what}"):
        train_recipe(recipe, out, speaker=Stopping(what, 20), cpu=True)
    left = {path.name for path in (out / "training").glob("*.safetensors")}
    assert left == {"mixture.safetensors"} | ({NEIGHBOURS.format("meaning")} if sense == "words" else set())
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(whole)
    assert not (out / "training").exists()


@pytest.mark.parametrize("step", [50, 60])
def test_stopped_while_a_labeller_labels(make_recipe, texts, monkeypatch, tmp_path, step):
    """In the first of two parts, or when all is labelled: nothing is lost, nor computed twice in the second case."""
    monkeypatch.setattr(keeping, "_PART", 50)
    recipe = make_recipe(unlabelled={"source": texts})
    whole = train_quietly(recipe, tmp_path / "whole").folder
    out, what = tmp_path / "out", "round 1, labeller 1 of 1 labels the texts"
    with pytest.raises(Interrupted, match=f"stopped while {what}"):
        train_recipe(recipe, out, speaker=Stopping(what, step), cpu=True)
    assert (out / "training" / "labeller-1-1.safetensors").exists() == (step == 60)
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(whole)


def test_what_an_older_version_kept_is_swept_away(make_recipe, texts, tmp_path):
    recipe, out = make_recipe(unlabelled={"source": texts}), tmp_path / "out"
    with pytest.raises(Interrupted):
        train_recipe(recipe, out, speaker=Stopping("training", 2), cpu=True)
    (out / "training" / "neighbours.safetensors").write_bytes(b"of an older version")
    train_quietly(recipe, out, resume=True)
    assert not (out / "training").exists()
