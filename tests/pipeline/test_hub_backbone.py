"""A backbone from the Hub: a small server on this machine answers as the Hub does."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "owner/tiny"


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface_hub asks for: the list of a model's files, and each of them."""

    folder: ClassVar[Path]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        names = sorted(file.name for file in self.folder.iterdir())
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [self._entry(self.folder / name) for name in names]
            return self._send(200, json.dumps(tree).encode(), with_body, {"Content-Type": "application/json"})
        if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
            siblings = [{"rfilename": name} for name in names]
            content = json.dumps({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": siblings}).encode()
            return self._send(200, content, with_body, {"Content-Type": "application/json"})
        name = path.rpartition("/")[2]
        if path in {f"/{NAME}/resolve/{revision}/{name}" for revision in ("main", COMMIT)} and name in names:
            content = (self.folder / name).read_bytes()
            etag = self._entry(self.folder / name)["oid"]
            return self._send(200, content, with_body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        known = path.startswith((f"/{NAME}/resolve/main", f"/{NAME}/resolve/{COMMIT}"))
        revision = path.startswith((f"/{NAME}/", f"/api/models/{NAME}/"))
        code = "EntryNotFound" if known else "RevisionNotFound" if revision else "RepoNotFound"
        return self._send(404, b"", with_body, {"X-Error-Code": code})

    @staticmethod
    def _entry(path: Path) -> dict[str, object]:
        content = path.read_bytes()
        return {"type": "file", "path": path.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _send(self, status: int, content: bytes, with_body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def published(tiny_roberta, tmp_path) -> Path:
    """A backbone with a file that older releases of Transformers wrote beside the tokenizer."""
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "published"))
    (folder / "special_tokens_map.json").write_text(json.dumps({"sep_token": "</s>"}))
    return folder


@pytest.fixture
def hub(published):
    handler = type("TinyHub", (Hub,), {"folder": published, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()
    thread.join()


SCRIPT = """
import json, sys
import pennyweight
recipe, out, name = sys.argv[1:]
planned = pennyweight.plan(recipe)
outcome = pennyweight.train(recipe, out)
classifier = pennyweight.Classifier.load(out)
wrong = []
for other in ("owner/other", "owner/tiny"):
    revision = "no-such" if other == name else None
    try:
        pennyweight.plan(recipe, backbone={"name": other, "revision": revision})
    except pennyweight.InputError as error:
        wrong.append(str(error))
print(json.dumps({
    "planned": planned.trainable, "trained": outcome.plan.trainable, "wrong": wrong,
    "logits": classifier.logits(["A ship at the quay.", "apple pear"]).tolist(),
}))
"""


def test_a_hub_id_is_planned_trained_and_loaded(hub, small_recipe, make_recipe, tiny_roberta, published, tmp_path):
    """In a process of its own: huggingface_hub reads the Hub's address once, when it is imported."""
    endpoint, asked = hub
    recipe = tmp_path / "hub.toml"
    recipe.write_text(small_recipe.read_text().replace(f'"{tiny_roberta}"', f'"{NAME}"'))
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(recipe), str(tmp_path / "out"), NAME],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["planned"] == answer["trained"]

    # To plan is to ask for one small file.
    first_weights = next(index for index, line in enumerate(asked) if "safetensors" in line)
    before = [line for line in asked[:first_weights] if line.startswith("GET") and "/resolve/" in line]
    assert before[0].endswith("/config.json")
    assert sum(line.startswith("GET") and line.endswith("/model.safetensors") for line in asked) == 1
    assert all("no such repository or revision" in message for message in answer["wrong"])
    assert len(answer["wrong"]) == 2

    manifest = json.loads((tmp_path / "out" / "classifier.json").read_text())
    assert manifest["backbone"]["name"] == NAME
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == NAME

    # The same backbone from the folder is the same backbone.
    from pennyweight.classifier import Classifier

    local = Classifier.load(tmp_path / "out", backbone=str(published), device="cpu")
    logits = local.logits(["A ship at the quay.", "apple pear"]).tolist()
    assert logits == [pytest.approx(row, rel=1e-4, abs=1e-6) for row in answer["logits"]]
