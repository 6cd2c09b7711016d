from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pennyweight.errors import InputError
from pennyweight.manifest import FORMAT, Manifest, file_digest, read_manifest, require_unaltered


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "classifier"))


def test_what_predicting_needs(trained, make_recipe, tiny_roberta):
    manifest = read_manifest(trained)
    recipe = make_recipe()
    assert manifest.format == FORMAT == 1
    assert manifest.labels == recipe.data.labels
    assert Path(manifest.backbone.name) == tiny_roberta
    assert manifest.backbone.weights_sha256 == file_digest(tiny_roberta / "model.safetensors")
    assert manifest.backbone.tokenizer_sha256 == file_digest(tiny_roberta / "tokenizer.json")
    assert (manifest.backbone.hidden_size, manifest.backbone.model_type) == (32, "roberta")
    assert (manifest.head.kind, manifest.head.pooling) == ("linear", "mean")
    assert (manifest.text.columns, manifest.text.label_column) == (("text",), "label")
    assert manifest.text.max_length == recipe.text.max_length
    assert manifest.files.keys() == {"adapter_config.json", "adapter_model.safetensors", "head.safetensors"}
    assert "torch" in manifest.environment["versions"]
    assert manifest.metrics["examples"] == 18


def test_it_survives_its_own_json(trained):
    manifest = read_manifest(trained)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_keys_of_later_versions_are_passed_over(folder):
    path = folder / "classifier.json"
    before = read_manifest(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "remark": "from the future"}))
    assert read_manifest(folder) == before


def test_digests_tell_every_alteration(folder):
    manifest = read_manifest(folder)
    require_unaltered(folder, manifest)
    for name in manifest.files:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        with pytest.raises(InputError, match=f"{name}: truncated or altered"):
            require_unaltered(folder, manifest)
        (folder / name).write_bytes(content)
    require_unaltered(folder, manifest)


def test_a_file_digest_is_sha_256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
