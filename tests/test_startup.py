"""What starts fast: judged by what is imported, not by the clock. Every test has an interpreter of its own."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from pennyweight.recipe_files import load_recipe, shipped_recipes
from pennyweight.startup import uncollected

HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "numpy", "pyarrow", "scipy", "matplotlib")
COMMANDS = """
import contextlib, io, sys
from pennyweight.cli import main

def run(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main([str(one) for one in arguments])
        except SystemExit as stopped:
            return stopped.code or 0, out.getvalue(), err.getvalue()
"""


def printed_by(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(code: str) -> str:
    """The heavy packages, numpy among them, that a fresh interpreter has loaded after ``code``."""
    return printed_by(f"import sys\n{code}\nprint(sorted(set({HEAVY}) & sys.modules.keys()))")


def test_importing_the_package_loads_nothing():
    assert loaded_by("import pennyweight; pennyweight.InputError; dir(pennyweight)") == "[]"
    assert "pydantic" not in printed_by("import sys, pennyweight; print(list(sys.modules))")


def test_help_loads_nothing():
    code = """
for command in ("", "plan", "train", "evaluate", "predict", "recipes"):
    code, out, _ = run(*command.split(), "--help")
    assert code == 0 and "Usage" in out
"""
    assert loaded_by(COMMANDS + code) == "[]"


def test_planning_shipped_recipes_loads_nothing():
    offline = [name for name in shipped_recipes() if load_recipe(name).data.labels != "auto" or name == "quickstart"]
    assert len(offline) > 7
    code = f"""
for name in {offline}:
    for options in ([], ["--json"], ["--backbone", "minilm"], ["--backbone", "roberta-large"]):
        code, out, err = run("plan", name, *options)
        assert out and code in (0, 1), err
"""
    assert loaded_by(COMMANDS + code) == "[]"


def test_planning_from_python_loads_nothing():
    assert loaded_by("import pennyweight; assert pennyweight.plan('quickstart').trainable == 333_316") == "[]"


def test_planning_an_unknown_backbone_loads_what_builds_it(tiny_bert):
    """The counterpart: it shows that the tests above would see torch if it were there."""
    code = f"code, out, err = run('plan', 'quickstart', '--backbone', {str(tiny_bert)!r}); assert code == 0, err"
    found = loaded_by(COMMANDS + code)
    assert "'torch', 'transformers'" in found
    assert "peft" not in found


def test_what_is_refused_is_refused_before_torch_is_loaded(tmp_path):
    (tmp_path / "empty").mkdir()
    code = f"""
for folder in ({str(tmp_path / "none")!r}, {str(tmp_path / "empty")!r}):
    for command in (["evaluate", folder], ["predict", folder, "--out", "{tmp_path}/out.csv"]):
        code, _, err = run(*command, "--data", "starter")
        assert code == 2 and folder in err, err
for arguments in (["plan", "no-such-recipe"], ["train", "no-such-recipe", "--out", "{tmp_path}/out"]):
    assert run(*arguments)[0] == 2
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    printed_by(COMMANDS + code)


def test_the_libraries_are_loaded_without_collecting():
    code = """
import gc, sys
rounds = []
gc.callbacks.append(lambda phase, _info: rounds.append(phase))
from pennyweight.startup import load_libraries
gc.collect(); before = len(rounds)
load_libraries()
print(len(rounds) - before, gc.isenabled(), gc.get_freeze_count() > 300_000)
print({"torch", "transformers", "peft"} <= sys.modules.keys(), "transformers.modeling_utils" in sys.modules)
"""
    assert printed_by(code).split() == ["0", "True", "True", "True", "True"]


@pytest.fixture
def no_library_yet(monkeypatch):
    monkeypatch.delitem(sys.modules, "peft", raising=False)
    yield
    gc.unfreeze()


def test_the_collector_is_put_back_whatever_happens(no_library_yet):
    assert gc.get_freeze_count() == 0
    with pytest.raises(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_a_collector_that_is_off_stays_off(no_library_yet):
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_nothing_is_frozen_where_the_libraries_are_loaded_already(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", sys)
    before = gc.get_freeze_count()
    with uncollected():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


@pytest.mark.parametrize("module", ["pennyweight", "pennyweight.__main__"])
def test_ctrl_c_while_modules_load_is_no_traceback(module):
    code = f"""
import runpy, sys

class Key:
    def find_spec(self, name, path=None, target=None):
        if name == "pennyweight.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Key())
runpy.run_module({module!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
