"""Data sets as the `datasets` library loads them: from folders, and from a Hub that answers wrongly or not at all."""

from __future__ import annotations

import http.server
import socket
import threading

import datasets
import datasets.config
import pytest

from pennyweight.data.sources import open_source, stream_rows
from pennyweight.errors import InputError, RunError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.fixture
def folder(tmp_path):
    """A data set with class labels and two splits."""
    place = tmp_path / "news"
    place.mkdir()
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["World", "Sports", "Business"])}
    )
    train = {"text": [f"text {number}" for number in range(2500)], "label": [number % 3 for number in range(2500)]}
    test = {"text": ["a", "b"], "label": [2, -1]}
    datasets.Dataset.from_dict(train, features=features).to_parquet(place / "train.parquet")
    datasets.Dataset.from_dict(test, features=features).to_parquet(place / "test.parquet")
    return place


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_class_labels_come_as_names(folder):
    rows = list(stream_rows(f"hub:{folder}", split="train"))
    assert [row.number for row in rows] == list(range(1, 2501))
    assert [row.values["label"] for row in rows[:4]] == ["World", "Sports", "Business", "World"]
    assert rows[2400].values == {"text": "text 2400", "label": "World"}


def test_kept_in_memory_the_rows_are_the_same(folder, monkeypatch):
    expected = list(stream_rows(f"hub:{folder}", split="train"))
    monkeypatch.setattr(datasets.config, "IN_MEMORY_MAX_SIZE", 1 << 40)
    assert list(stream_rows(f"hub:{folder}", split="train")) == expected


def test_a_fingerprint_tells_splits_and_revisions_apart(folder):
    def fingerprint(split: str = "train") -> str:
        return open_source(f"hub:{folder}", split=split).fingerprint()

    before = fingerprint()
    assert before == fingerprint() != fingerprint("test")
    rows = {"text": ["a"] * 2500, "label": ["b"] * 2500}
    datasets.Dataset.from_dict(rows).to_parquet(folder / "train.parquet")
    datasets.Dataset.from_dict(rows).to_parquet(folder / "test.parquet")
    assert fingerprint() != before


def test_minus_one_is_no_label(folder):
    assert [row.values["label"] for row in stream_rows(f"hub:{folder}@test", split="train")] == ["Business", None]


def test_a_missing_split_names_those_there_are(folder):
    with pytest.raises(InputError, match=r"no split 'validation'; it has train, test"):
        stream_rows(f"hub:{folder}@validation", split="train")


def test_configurations(tmp_path):
    place = tmp_path / "several"
    for name in ("english", "german"):
        (place / name).mkdir(parents=True)
        (place / name / "train.csv").write_text(f"text,label\n{name},1\n")
    (place / "README.md").write_text(
        "---\nconfigs:\n- config_name: english\n  data_files: english/*.csv\n"
        "- config_name: german\n  data_files: german/*.csv\n---\n"
    )
    rows = list(stream_rows(f"hub:{place}:german", split="train"))
    assert [row.values["text"] for row in rows] == ["german"]
    for source in (f"hub:{place}", f"hub:{place}:french"):
        with pytest.raises(InputError) as caught:
            stream_rows(source, split="train")
        message = str(caught.value)
        assert "english" in message
        assert "german" in message
        assert "hub:<id>:<config>" in message
        assert "\n" not in message


def test_a_folder_without_data(tmp_path):
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="cannot be loaded"):
        stream_rows(f"hub:{tmp_path / 'void'}", split="train")


def test_a_folder_with_a_script_is_not_run(tmp_path):
    place = tmp_path / "scripted"
    place.mkdir()
    marker = tmp_path / "ran"
    (place / "scripted.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(InputError):
        stream_rows(f"hub:{place}", split="train")
    assert not marker.exists()


def test_damaged_files_are_an_input_error(tmp_path):
    place = tmp_path / "damaged"
    place.mkdir()
    (place / "train.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    with pytest.raises(InputError, match="cannot be loaded"):
        stream_rows(f"hub:{place}", split="train")


def test_an_unreachable_hub_asks_for_a_file_after_one_attempt(monkeypatch, closed_port, caplog):
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(RunError) as caught:
        stream_rows("hub:someone/some-data-set", split="train")
    assert caught.value.exit_code == 1
    assert "the Hub cannot be reached" in str(caught.value)
    assert "give it as a file (CSV, TSV, JSONL, Parquet)" in str(caught.value)
    assert "Retry" not in caplog.text
    assert datasets.config.HF_HUB_OFFLINE is False


def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="offline mode is on"):
        stream_rows("hub:someone/some-data-set", split="train")


@pytest.fixture
def refusing_hub(monkeypatch):
    """A server that answers as the Hub does where there is no such repository."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["someone/none-such", "not a valid/id at/all"])
@pytest.mark.usefixtures("refusing_hub")
def test_an_unknown_id_is_an_input_error(name):
    with pytest.raises(InputError, match="no such data set") as caught:
        stream_rows(f"hub:{name}", split="train")
    assert caught.value.exit_code == 2


def test_lists_of_class_labels_come_as_lists_of_names(tmp_path):
    names = datasets.List(datasets.ClassLabel(names=["joy", "fear"]))
    features = datasets.Features({"text": datasets.Value("string"), "labels": names})
    rows = {"text": ["a", "b", "c"], "labels": [[1, 0], [], None]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    found = [row.values["labels"] for row in stream_rows(f"hub:{tmp_path}", split="train")]
    assert found == [["fear", "joy"], [], None]
