from __future__ import annotations

import pytest

from pennyweight.errors import InputError
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe, load_recipe, shipped_recipes


def refusal(*changes: str, name: str = "quickstart") -> str:
    with pytest.raises(InputError) as caught:
        load_recipe(name, changes=changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_shipped_recipes_have_a_line_each():
    known = shipped_recipes()
    assert list(known) == sorted(known)
    assert all(line and not line.startswith("#") for line in known.values())


def test_an_unknown_recipe_names_the_nearest_and_all():
    message = refusal(name="quikstart")
    assert "did you mean 'quickstart'?" in message
    assert all(name in message for name in shipped_recipes())


def test_a_file_that_is_not_there(tmp_path):
    assert "no such recipe file" in refusal(name=str(tmp_path / "none.toml"))


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    assert "cannot be read as a recipe" in refusal(name=str(tmp_path / "folder.toml"))


@pytest.mark.parametrize(("content", "words"), [(b"[training\n", "not valid TOML"), (b"\xff\xfe", "cannot be read")])
def test_a_file_that_is_no_toml(tmp_path, content, words):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    message = refusal(name=str(path))
    assert words in message
    assert "broken.toml" in message


def test_an_empty_file_is_all_defaults(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("")
    assert load_recipe(str(path)) == Recipe()


def test_an_unknown_section_names_the_nearest():
    message = refusal("trainning.epochs=3")
    assert "unknown section 'trainning' (did you mean 'training'?)" in message
    assert "known: backbone, data, text" in message


def test_an_unknown_key_names_the_nearest():
    message = refusal("training.learning_rat=3")
    assert "unknown key 'training.learning_rat' (did you mean 'learning_rate'?)" in message
    assert "warmup" in message


def test_an_unknown_key_with_nothing_near_lists_those_there_are():
    message = refusal("training.zzz=3")
    assert "did you mean" not in message
    assert "known: epochs, batch_size" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("adapters.rank=0", "adapters.rank = 0: "),
        ("adapters.rank=-3", "adapters.rank = -3: "),
        ("adapters.rank=4.5", "adapters.rank = 4.5: "),
        ("adapters.rank=full", "'fill'"),
        ("training.learning_rate=-1e-3", "training.learning_rate = -0.001: input should be greater than 0"),
        ("training.learning_rate=0", "training.learning_rate = 0: "),
        ("training.learning_rate=nan", "training.learning_rate = nan: "),
        ("training.learning_rate=inf", "training.learning_rate = inf: "),
        ("training.warmup=1.1", "training.warmup = 1.1: input should be less than or equal to 1"),
        ("training.warmup=-0.1", "training.warmup = -0.1: "),
        ("training.schedule=polynomial", "'cosine-restarts'"),
        ("training.optimizer=adam", "'adamw'"),
        ("training.betas=[0.9]", "training.betas"),
        ("training.betas=[0.9, 1.0]", "training.betas"),
        ("training.seed=-1", "training.seed = -1: "),
        ("data.validation=1", "data.validation = 1: "),
        ("data.limit=0", "data.limit = 0: "),
        ("data.text=[]", "data.text = []: "),
        ("text.max_length=1", "text.max_length = 1: "),
        ('text.cleaning=["wash"]', "'html'"),
        ("budget.parameters=0", "budget.parameters = 0: "),
        ("head.kind=deep", "'low-rank'"),
        ("evaluation.bootstrap=1", "evaluation.bootstrap = 1: "),
    ],
)
def test_a_value_out_of_its_range_is_named(change, words):
    assert words in refusal(change)


def test_further_problems_are_counted():
    assert refusal("training.warmup=2", "adapters.dropout=7", "training.epochs=0").endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("head.kind=stock",), "head.pooling has no meaning"),
        (("head.kind=low-rank",), "head.rank goes with head.kind = 'low-rank'"),
        (("head.rank=3",), "head.rank goes with head.kind = 'low-rank'"),
        (("data.validation=0", "training.patience=2"), "data.validation = 0 leaves nothing"),
        (("data.validation=0", "training.schedule=plateau"), "data.validation = 0 leaves nothing"),
    ],
)
def test_options_that_would_do_nothing_are_refused(changes, words):
    assert words in refusal(*changes)


@pytest.mark.parametrize("change", ["epochs=3", "training=3", "training.epochs", "training.=3", ".epochs=3", "=", ""])
def test_a_malformed_change_is_shown_how(change):
    message = refusal(change)
    assert repr(change) in message
    assert "section.key=value" in message


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ("training.epochs=5", "training", "epochs", 5),
        ("training.epochs = 5", "training", "epochs", 5),
        ("training.learning_rate=2e-4", "training", "learning_rate", 2e-4),
        ("training.betas=[0.8, 0.95]", "training", "betas", (0.8, 0.95)),
        ("budget.parameters=500_000", "budget", "parameters", 500_000),
        ("backbone.dropout=true", "backbone", "dropout", True),
        ("backbone.name=roberta-base", "backbone", "name", "roberta-base"),
        ('backbone.name="roberta-base"', "backbone", "name", "roberta-base"),
        ("data.source=/data/a=b.csv", "data", "source", "/data/a=b.csv"),
        ("data.test=none", "data", "test", None),
        ("training.gradient_clip=none", "training", "gradient_clip", None),
        ("data.text=headline", "data", "text", ("headline",)),
        ('data.text=["title", "body"]', "data", "text", ("title", "body")),
        ("adapters.targets=query", "adapters", "targets", ("query",)),
        ("adapters.targets=all-linear", "adapters", "targets", "all-linear"),
        ("adapters.rank=fill", "adapters", "rank", "fill"),
        ("adapters.rank=3", "adapters", "rank", 3),
        ('adapters.rank_pattern={"query@0" = 2}', "adapters", "rank_pattern", {"query@0": 2}),
        ("data.labels=auto", "data", "labels", "auto"),
        ("text.cleaning=[]", "text", "cleaning", ()),
    ],
)
def test_changes_on_the_command_line(change, section, key, value):
    assert getattr(getattr(load_recipe("quickstart", changes=[change]), section), key) == value


def test_the_later_change_wins():
    assert load_recipe("quickstart", changes=["training.epochs=5", "training.epochs=7"]).training.epochs == 7


def test_a_recipe_may_not_be_a_scalar_section():
    with pytest.raises(InputError, match="training"):
        build_recipe({"training": 3})
