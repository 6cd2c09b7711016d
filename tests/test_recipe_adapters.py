"""Which keys of `[adapters]` go together."""

from __future__ import annotations

import pytest

from pennyweight.errors import InputError
from pennyweight.recipe_files import build_recipe


def adapters(**keys):
    return build_recipe({"adapters": keys}).adapters


@pytest.mark.parametrize(
    ("keys", "refusal"),
    [
        ({"kind": "ia3", "rank": 4}, "adapters.rank = 4 has no meaning with adapters.kind = 'ia3': leave it out"),
        ({"kind": "ia3", "targets": ["key"]}, "adapters.targets = ['key'] has no meaning with adapters.kind = 'ia3'"),
        ({"kind": "prompt", "alpha": 4}, "adapters.alpha = 4.0 has no meaning with adapters.kind = 'prompt'"),
        ({"kind": "prompt", "dropout": 0.1}, "adapters.dropout = 0.1 has no meaning with adapters.kind = 'prompt'"),
        ({"prompt_length": 4}, "adapters.prompt_length = 4 has no meaning with adapters.kind = 'lora'"),
        ({"ia3_targets": "key"}, "adapters.ia3_targets = ['key'] has no meaning with adapters.kind = 'lora'"),
        ({"final_rank": 2}, "adapters.final_rank = 2 has no meaning with adapters.kind = 'lora'"),
        ({"kind": "dora", "init": "pissa"}, "adapters.init = 'pissa' has no meaning with adapters.kind = 'dora'"),
        ({"kind": "adalora", "rank_pattern": {"key": 2}}, "adapters.rank_pattern = {'key': 2} has no meaning with"),
        ({"kind": "adalora", "alpha": 4, "scaling": "rslora"}, "adapters.scaling = 'rslora' has no meaning with"),
        ({"kind": "adalora", "rank": 1}, "prunes from adapters.rank down to a lower adapters.final_rank"),
        ({"kind": "adalora", "final_rank": 8}, "prunes from adapters.rank down to a lower adapters.final_rank"),
        ({"kind": "adalora", "prune_between": [0.5, 0.5]}, "the first share is below the second"),
        ({"kind": "adalora", "rank": "sensitivity"}, "finds all ranks by itself: leave out adapters.kind = 'adalora'"),
        ({"rank": "sensitivity", "rank_pattern": {"key": 2}}, "finds all ranks by itself: leave out"),
        ({"sensitivity_steps": 10}, "goes with adapters.rank = 'sensitivity', and only with it"),
        ({"scaling": "rslora"}, "adapters.scaling = 'rslora' scales by alpha / √r: give adapters.alpha"),
        ({"kind": "bottleneck"}, "adapters.kind = 'bottleneck': "),
        ({"kind": "prompt", "prompt_length": 0}, "adapters.prompt_length = 0: "),
        ({"kind": "adalora", "prune_between": [0.5]}, "adapters.prune_between"),
        ({"kind": "adalora", "orthogonality": -1}, "adapters.orthogonality = -1: "),
    ],
)
def test_what_means_nothing_is_refused_in_a_line(keys, refusal):
    with pytest.raises(InputError) as caught:
        adapters(**keys)
    assert refusal in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "pairs", "prompt", "scales"),
    [
        ({}, "lora", 0, False),
        ({"kind": "dora", "rank": "sensitivity"}, "dora", 0, False),
        ({"kind": "adalora", "final_rank": 2}, "adalora", 0, False),
        ({"kind": "ia3"}, None, 0, True),
        ({"kind": "prompt"}, None, 10, False),
        ({"kind": "lora+prompt", "prompt_length": 7, "init": "eva"}, "lora", 7, False),
        ({"kind": "lora+ia3", "scaling": "rslora", "alpha": 3, "ia3_targets": "key"}, "lora", 0, True),
    ],
)
def test_what_a_kind_is_made_of(keys, pairs, prompt, scales):
    section = adapters(**keys)
    assert (section.pairs, section.prompt_vectors, section.scales) == (pairs, prompt, scales)


def test_a_recipe_survives_being_written_out_whole():
    """As changing one key from Python or resuming a run does: keys at their defaults are not taken for given."""
    for kind in ("ia3", "prompt", "adalora", "lora+ia3"):
        recipe = build_recipe({"adapters": {"kind": kind}})
        assert build_recipe(recipe.model_dump(mode="json")) == recipe


def test_a_rate_for_factors_needs_factors():
    with pytest.raises(
        InputError, match=r"training\.lora_plus needs pairs of factors; adapters\.kind = 'ia3' has none"
    ):
        build_recipe({"adapters": {"kind": "ia3"}, "training": {"lora_plus": 4}})
