from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pennyweight.errors import InputError
from pennyweight.manifest import FORMAT, Manifest, file_digest, read_manifest, require_unaltered, weight_files
from pennyweight.model.backbone import find_backbone


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "classifier"))


def test_what_predicting_needs(trained, make_recipe, tiny_roberta):
    manifest = read_manifest(trained)
    recipe = make_recipe()
    assert manifest.format == FORMAT == 2
    assert manifest.labels == recipe.data.labels
    assert Path(manifest.backbone.name) == tiny_roberta
    assert manifest.backbone.weights_sha256 == file_digest(tiny_roberta / "model.safetensors")
    assert manifest.backbone.tokenizer_sha256 == find_backbone(str(tiny_roberta)).tokenizer_digest
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


def edited(folder: Path, key: str, value: object) -> str:
    """What reading says once ``section.key`` of classifier.json is ``value``."""
    path = folder / "classifier.json"
    content = json.loads(path.read_text())
    *sections, last = key.split(".")
    part = content
    for section in sections:
        part = part[section]
    part[last] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_manifest(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("the file was altered, restore it from a copy")
    return message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "1"),
        ("format", True),
        ("format", 1.0),
        ("format", 0),
        ("labels", ["a", "a", "b"]),
        ("labels", ["a", "b", " "]),
        ("labels", ["a", "b", " a"]),
        ("labels", ["a"]),
        ("labels", [0, 1, 2]),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("temperature", "1"),
        ("temperature", -1),
        ("batch_size", 0),
        ("batch_size", "64"),
        ("batch_size", True),
        ("text.max_length", 0),
        ("text.max_length", 8193),
        ("text.columns", []),
        ("text.columns", [""]),
        ("text.first_label", -1),
        ("text.add_prefix_space", "no"),
        ("backbone.hidden_size", 0),
        ("head.rank", 0),
        ("files", []),
        ("files", {"adapter_model.safetensors": "not a digest"}),
    ],
)
def test_values_out_of_their_range_are_named(key, value, folder):
    assert key in edited(folder, key, value)


def test_a_low_rank_head_needs_its_rank_and_no_other_has_one(folder):
    assert "head: a low-rank head has a rank" in edited(folder, "head.kind", "low-rank")
    assert "head: a low-rank head has a rank" in edited(folder, "head", {"kind": "linear", "pooling": None, "rank": 2})


def test_a_temperature_beyond_all_numbers(folder):
    path = folder / "classifier.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "temperature": "HERE"}).replace('"HERE"', "1e999"))
    with pytest.raises(InputError, match="temperature: input should be a finite number"):
        read_manifest(folder)


def test_no_weight_file_goes_without_a_digest(folder):
    path = folder / "classifier.json"
    files = read_manifest(folder).files
    original = path.read_bytes()
    assert set(files) == set(weight_files(read_manifest(folder)))
    for name in files:
        assert f"the digest of {name} is not among them" in edited(
            folder, "files", {other: digest for other, digest in files.items() if other != name}
        )
        path.write_bytes(original)
    assert "the digest of adapter_model.safetensors is not among them" in edited(folder, "files", {})


def test_a_stock_head_has_no_file_of_its_own(folder):
    path = folder / "classifier.json"
    content = json.loads(path.read_text())
    content["head"] = {"kind": "stock", "pooling": None, "rank": None}
    del content["files"]["head.safetensors"]
    path.write_text(json.dumps(content))
    assert set(read_manifest(folder).files) == {"adapter_model.safetensors", "adapter_config.json"}


@pytest.mark.parametrize("name", ["../other/head.safetensors", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0"])
def test_files_outside_the_folder_are_never_read(name, folder):
    files = read_manifest(folder).files
    message = edited(folder, "files", {**files, name: "0" * 64})
    assert f"files: {name!r} is not the plain name of a file" in message


def test_a_folder_in_the_place_of_a_file(folder):
    manifest = read_manifest(folder)
    (folder / "head.safetensors").unlink()
    (folder / "head.safetensors").mkdir()
    with pytest.raises(InputError, match=r"head\.safetensors: missing, or not a file"):
        require_unaltered(folder, manifest)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"plan": ' * 5000, "[]", "3"])
def test_what_is_no_manifest_is_told_in_a_line(content, folder):
    (folder / "classifier.json").write_text(content)
    with pytest.raises(InputError, match=r"classifier\.json: .*restore it from a copy$"):
        read_manifest(folder)
