from __future__ import annotations

import pytest

from pennyweight.budget.selectors import Matrix, select, select_all, values_by_matrix
from pennyweight.errors import InputError

ENDS = ("attention.self.query", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense")
MATRICES = [
    Matrix(f"encoder.layer.{layer}.{end}", fan_in=8, fan_out=8, layer=layer) for layer in range(12) for end in ENDS
]
LOOSE = [Matrix("embeddings.project", fan_in=4, fan_out=8, layer=None), *MATRICES]


def names(selector: str, matrices=MATRICES, prefix: str = "roberta") -> list[str]:
    return [matrix.name for matrix in select(selector, matrices, flag="adapters.targets", prefix=prefix)]


def layers(selector: str) -> list[int | None]:
    return [matrix.layer for matrix in select(selector, MATRICES, flag="adapters.targets")]


def refusal(selector: str, matrices=MATRICES) -> str:
    with pytest.raises(InputError) as caught:
        select(selector, matrices, flag="adapters.targets", prefix="roberta")
    message = str(caught.value)
    assert message.startswith("adapters.targets: ")
    assert "\n" not in message
    return message


def test_a_suffix_means_every_matrix_that_ends_in_it():
    assert names("query") == [f"encoder.layer.{layer}.attention.self.query" for layer in range(12)]


def test_output_dense_means_attention_and_ffn_alike():
    assert len(names("output.dense")) == 24


def test_a_suffix_ends_at_a_dot():
    assert "matches no matrix" in refusal("uery")


def test_a_glob_stands_for_one_part_only():
    found = names("layer.*.output.dense")
    assert len(found) == 12
    assert not any("attention" in name for name in found)


def test_a_glob_within_a_part():
    assert names("self.que*") == names("query")
    assert names("*ut*.dense") == names("output.dense")


@pytest.mark.parametrize("prefix", ["", "roberta."])
def test_a_full_name_with_or_without_the_base_models_name(prefix):
    full = "encoder.layer.1.attention.self.query"
    assert names(prefix + full) == [full]


def test_layer_1_is_not_layer_11():
    assert layers("layer.1.output.dense") == [1]
    assert layers("query@1") == [1]
    assert layers("query@11") == [11]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("query@0", [0]),
        ("query@0,5,10", [0, 5, 10]),
        ("query@10,0", [0, 10]),
        ("query@-1", [11]),
        ("query@-2,-1", [10, 11]),
        ("query@-12", [0]),
        ("query@6:", list(range(6, 12))),
        ("query@:3", [0, 1, 2]),
        ("query@-3:-1", [9, 10]),
        ("query@:", list(range(12))),
        ("query@0,10:", [0, 10, 11]),
    ],
)
def test_layers(selector, expected):
    assert layers(selector) == expected


def test_layers_of_what_belongs_to_none():
    assert names("project", LOOSE) == ["embeddings.project"]
    assert "no matrix in those layers" in refusal("project@0", LOOSE)


@pytest.mark.parametrize("layer", ["12", "-13", "99"])
def test_a_layer_that_is_not_there_is_named_with_those_that_are(layer):
    assert f"no layer {layer}; this backbone has layers 0 to 11" in refusal(f"query@{layer}")


@pytest.mark.parametrize("selector", ["query@", "query@x", "query@1:2:3", "query@1,,2", "query@1.5"])
def test_malformed_layers_are_shown_how(selector):
    assert "write layers as @0,1,-2" in refusal(selector)


def test_an_empty_slice_is_refused():
    assert "layers 0 to 11" in refusal("query@5:5")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("querry", "query"), ("self.vlue", "self.value"), ("output.dens", "output.dense"), ("intermediate", "dense")],
)
def test_near_misses_are_named(wrong, near):
    message = refusal(wrong)
    assert repr(wrong) in message
    assert near in message.partition("near: ")[2]


def test_nothing_near_still_lists_names():
    assert "query" in refusal("zzzzzz")


def test_regular_expression_signs_are_ordinary_characters():
    assert "matches no matrix" in refusal("quer.")
    assert "matches no matrix" in refusal("(query|value)")


def test_a_union_keeps_the_models_order_and_counts_nothing_twice():
    found = select_all(["value", "query", "query@3"], MATRICES, flag="adapters.targets")
    assert [matrix.name for matrix in found] == [m.name for m in MATRICES if m.name.endswith(("query", "value"))]


def test_values_by_pattern_the_later_wins():
    values = values_by_matrix({"query": 2, "query@0,1": 5, "query@1": 9}, MATRICES, flag="adapters.rank_pattern")
    by_layer = [values[f"encoder.layer.{layer}.attention.self.query"] for layer in range(12)]
    assert by_layer == [5, 9, *[2] * 10]
    assert len(values) == 12
