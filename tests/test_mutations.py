"""The list of mutations stays true to the code: what each alters stands there once."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def mutations():
    spec = importlib.util.spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module
    spec.loader.exec_module(module)
    return module.read_mutations()


@pytest.mark.parametrize("mutation", mutations(), ids=lambda one: one.name)
def test_what_is_altered_stands_there_once(mutation):
    assert (ROOT / "src/pennyweight" / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1
    assert mutation.old != mutation.new
    assert all((ROOT / path).exists() for path in mutation.tests.split())
