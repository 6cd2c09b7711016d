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
        ("adapters.targets=[]", "adapters.targets = []: should hold at least one name, or be 'all-linear'"),
        ("adapters.rank=full", "adapters.rank = 'full': should be a whole number, or be 'fill'"),
        ("data.text=", "data.text = '': should not be empty"),
        ('data.text=["title", ""]', "data.text = '': should not be empty"),
        ('adapters.targets=["query", ""]', "adapters.targets = '': should not be empty"),
        ('data.label=""', "data.label = '': should not be empty"),
    ],
)
def test_a_value_out_of_its_range_is_named(change, words):
    assert words in refusal(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("adapters.rank=true", "adapters.rank = True: should be a whole number"),
        ("training.epochs=true", "training.epochs = True: should be a whole number"),
        ('training.epochs="3"', "training.epochs = '3': should be a whole number"),
        ("training.seed=1e3", "training.seed = 1000.0: should be a whole number"),
        ("adapters.rank_pattern={query = true}", "adapters.rank_pattern = True: should be a whole number"),
        ("training.learning_rate=true", "training.learning_rate = True: should be a number"),
        ('training.learning_rate="1e-3"', "training.learning_rate = '1e-3': should be a number"),
        ("training.betas=[true, 0.9]", "training.betas = True: should be a number"),
        ("training.betas=[0.9]", "training.betas = [0.9]: should be a list of two numbers"),
        ("adapters.alpha=true", "adapters.alpha = True: should be a number"),
        ("backbone.dropout=yes", "backbone.dropout = 'yes': should be true or false"),
        ("backbone.dropout=1", "backbone.dropout = 1: should be true or false"),
        ("evaluation.temperature_scaling=0", "evaluation.temperature_scaling = 0: should be true or false"),
        ("text.cleaning=html", "text.cleaning = 'html': should be a list"),
    ],
)
def test_a_value_of_another_type_is_not_bent(change, words):
    assert words in refusal(change)


def test_every_number_and_truth_value_of_a_recipe_is_strict():
    table = Recipe().model_dump(mode="json")
    tried = 0
    for section, keys in table.items():
        for key, value in keys.items():
            for given in {bool: ("yes", 1), int: (True, "7", 7.0), float: (True, "0.5")}.get(type(value), ()):
                tried += 1
                with pytest.raises(InputError, match=rf"recipe: {section}\.{key} = "):
                    build_recipe({**table, section: {**keys, key: given}})
    assert tried > 50


@pytest.mark.parametrize(("key", "value"), [("learning_rate", 1), ("gradient_clip", 2), ("weight_decay", 0)])
def test_a_whole_number_is_a_number(key, value):
    found = getattr(load_recipe("quickstart", changes=[f"training.{key}={value}"]).training, key)
    assert (found, type(found)) == (value, float)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("World,Sports", "data.labels = 'World,Sports': give two label names or more in a list"),
        ('["a"]', "data.labels = ['a']: give two label names or more"),
        ("[]", "data.labels = []: give two label names or more"),
        ("none", "data.labels = None: give two label names or more"),
        ('["a", "b", "a"]', "the label name 'a' is given twice"),
        ('["a", " a"]', "the label name 'a' is given twice"),
        ('["a", ""]', "every label name is a text that is not empty"),
        ("[0, 1]", 'numbers go in quotes: ["0", "1"]'),
    ],
)
def test_labels_are_two_distinct_names_or_more(value, words):
    assert words in refusal(f"data.labels={value}")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("data.label=2024", "'data.label=\"2024\"'"),
        ("data.text=2024", "'data.text=\"2024\"'"),
        ("data.label=true", "'data.label=\"true\"'"),
        ("data.label=2024-01-02", "'data.label=\"2024-01-02\"'"),
        ("backbone.revision=1234567", "'backbone.revision=\"1234567\"'"),
    ],
)
def test_a_name_that_looks_like_a_number_is_to_be_quoted_and_then_taken(change, remedy):
    assert refusal(change).endswith(f"a name like this goes in quotes: {remedy}")
    section, key = change.partition("=")[0].split(".")
    value = getattr(getattr(load_recipe("quickstart", changes=[remedy.strip("'")]), section), key)
    assert value in (change.partition("=")[2], (change.partition("=")[2],))


def test_values_that_no_parser_can_hold(tmp_path):
    assert "nested too deeply" in refusal("training.epochs=" + "[" * 5000)
    assert "training.epochs" in refusal("training.epochs=" + "1" * 5000)
    assert len(refusal("training.learning_rate=1" + "0" * 400)) < 200
    for number, value in enumerate(("[" * 5000, "1" * 5000)):
        path = tmp_path / f"{number}.toml"
        path.write_text(f"[training]\nepochs = {value}\n")
        assert "not valid TOML" in refusal(name=str(path))


def test_a_path_is_as_good_as_a_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nepochs = 9\n")
    assert load_recipe(path) == load_recipe(str(path)) == build_recipe({"training": {"epochs": 9}})


def test_further_problems_are_counted():
    assert refusal("training.warmup=2", "adapters.dropout=7", "training.epochs=0").endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("head.kind=stock",), "head.pooling has no meaning"),
        (("objective.gamma=1",), "objective.gamma has no meaning without objective.loss = 'focal'"),
        (("objective.loss=focal", "objective.q=0.3"), "objective.q has no meaning without objective.loss = 'gce'"),
        (("windows.overlap=8",), "windows.overlap has no meaning without windows.count above 1"),
        (("training.cycles=2",), "training.cycles has no meaning without training.schedule = 'cosine-restarts'"),
        (("training.plateau_patience=2",), "training.plateau_patience has no meaning without"),
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
    with pytest.raises(InputError, match="training = 3: should be a section"):
        build_recipe({"training": 3})
