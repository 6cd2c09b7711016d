from __future__ import annotations

import pytest

from benchmarks.drawing import PAGE, drawn, filled, read_results
from benchmarks.tables import INFERENCE, REACHING, TABLES, TRAINING


def tables(results: dict) -> dict:
    return {name: table(results) for name, table in TABLES.items()}


def rate(value: float) -> dict:
    return {"median": value, "low": value - 1, "high": value + 1, "n": 7}


MACHINE = {
    "machine": {
        "processor": "A processor",
        "cores": 2,
        "memory_gib": 8.0,
        "capabilities": ["amx_bf16"],
        "gpu": "A card",
    },
    "versions": {"python": "3.11", "torch": "2.9", "transformers": "5.0", "peft": "0.18"},
}


def training() -> dict:
    contenders = {
        name: {"examples_per_second": rate(20.0 * place), "loss": {"before": 1.39, "after": 1.01}}
        for place, name in enumerate(TRAINING, start=1)
    }
    return {
        **MACHINE,
        "settings": {"rounds": 7},
        "contenders": contenders,
        "ratios": {"pennyweight/notebook": 4.0},
        "fractions_of_matmul_peak": {name: {"median": 0.25} for name in TRAINING},
        "matmul": {"peak_is": "best of the squares: 8x8x8", "peak_flops": rate(7e11), "format": "bf16"},
        "gpu": "not measured",
    }


def reaching() -> dict:
    def run(seconds: float, *, reached: bool = True) -> dict:
        return {
            "reached": reached,
            "seconds": seconds,
            "items_seen": 5_120,
            "accuracy": 0.9012 if reached else 0.8876,
        }

    one = {"seconds": 100.0, "seconds_to_level": 80.0, "runs": [run(90.0), run(100.0), run(120.0)]}
    contenders = dict.fromkeys(REACHING, one)
    contenders["tfidf"] = {"seconds": None, "seconds_to_level": None, "runs": [run(3.0, reached=False)]}
    ratios = {"ratios": {"a/b": 0.1}, "ratios_at_most": {}, "ratios_at_level": {"a/b": 0.25, "a/c": 0.2}}
    return {**MACHINE, "settings": {"level": 0.895}, "contenders": contenders, **ratios}


def inference() -> dict:
    contenders = {name: {"examples_per_second": rate(300.0), "accuracy": 0.9} for name in INFERENCE}
    del contenders["int8"]
    gpu = {**MACHINE, "contenders": {"bf16": {"examples_per_second": rate(9_000.0), "accuracy": 0.9}}}
    return {
        **MACHINE,
        "settings": {"rounds": 7},
        "contenders": contenders,
        "ratios": {"bf16/pipeline_sorted": 3.7},
        "gpu": gpu,
    }


def growth() -> dict:
    rows = [{"items": 1_000, "seconds": 4.0, "peak_rss_bytes": 1_500_000_000}]
    return {**MACHINE, **{name: {"rows": rows, "exponent": 0.98} for name in ("train", "predict", "plan")}}


def startup() -> dict:
    return {**MACHINE, "commands": {"--help": {"seconds": {"median": 0.25, "low": 0.24, "high": 0.3, "n": 7}}}}


@pytest.fixture
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def rows_of(page: str, table: str) -> list[str]:
    inside = page.split(f"<!-- begin {table} -->\n")[1].split(f"<!-- end {table} -->", maxsplit=1)[0]
    return [line for line in inside.splitlines() if line.startswith("|")][2:]


def test_without_results_every_row_says_so(page):
    empty = filled(page, tables({}))
    for table in set(TABLES) - {"machine"}:
        rows = rows_of(empty, table)
        assert rows
        assert all("not measured" in row for row in rows), table
    assert len(rows_of(empty, "training")) == len(TRAINING)


def test_a_result_of_a_gpu_alone_leaves_the_other_rows_unmeasured(page):
    gpu = {**MACHINE, "contenders": {"bf16": {"examples_per_second": rate(9_000.0), "accuracy": 0.9}}}
    full = filled(page, tables({"inference": {"gpu": gpu}}))
    assert all("not measured" in row for row in rows_of(full, "inference"))
    assert "9,000" in "".join(rows_of(full, "gpu"))
    assert drawn({"training": {"gpu": gpu}}).startswith(b"\x89PNG")


def test_results_are_written_into_their_tables(page):
    results = {
        "training": training(),
        "time_to_accuracy": reaching(),
        "inference": inference(),
        "growth": growth(),
        "startup": startup(),
    }
    full = filled(page, tables(results))
    assert rows_of(full, "training")[1].endswith("| 40 (39–41) | 2.0× | 25 % | 1.39 → 1.01 |")
    assert "Best of the squares: 8x8x8, 700 GFLOP/s." in full
    assert rows_of(full, "reaching")[0].endswith("| 100 s | 90, 100, 120 | 5,120, 5,120, 5,120 | 80 s |")
    assert rows_of(full, "reaching")[-1].endswith("| stops at 88.8 % | – | 5,120 | – |")
    assert "Seconds to 89.5 % likewise: a/b 0.25, a/c 0.20." in full
    assert "At most, where" not in full
    assert rows_of(full, "inference")[0].endswith("| 300 (299–301) | 90.00 % |")
    assert "not measured" in rows_of(full, "inference")[-1]
    assert rows_of(full, "growth")[0] == "| `train` | 1,000 items | 4.0 s | 1,500 MB |"
    assert rows_of(full, "startup") == ["| `--help` | 0.25 (0.24–0.30) |"]
    assert "9,000 (8,999–9,001) | A card" in rows_of(full, "gpu")[-1]
    assert "not measured" in rows_of(full, "gpu")[0]
    assert full.count("A processor, 2 cores, 8.0 GiB, amx_bf16") == 1  # one machine is told once
    assert filled(full, tables(results)) == full
    assert filled(full, tables({})) == filled(page, tables({}))


def test_a_machine_without_bf16_has_tables_that_do_not_speak_of_it(page):
    plain = training() | {"matmul": {**training()["matmul"], "format": "fp32"}}
    full = filled(page, tables({"training_fp32": plain, "inference_fp32": inference()}))
    for table in ("training-fp32", "inference-fp32"):
        rows = rows_of(full, table)
        assert any("Pennyweight" in row and "not measured" not in row for row in rows)
        assert not any("bf16" in row for row in rows)
    assert "Ratios: fp32/pipeline_sorted 3.70." in full
    assert "of the fp32 peak" in full
    assert all("not measured" in row for row in rows_of(full, "training"))


def test_a_page_whose_places_are_not_the_tables_is_refused(page):
    with pytest.raises(ValueError, match="the page has places for"):
        filled(page.replace("<!-- begin startup -->", ""), tables({}))


def test_the_committed_page_is_what_the_committed_results_say(page):
    assert filled(page, tables(read_results())) == page, "run python -m benchmarks.drawing"


def test_the_picture_is_drawn_with_and_without_results():
    results = {"training": training(), "time_to_accuracy": reaching(), "inference": inference()}
    empty, full = drawn({}), drawn(results)
    assert empty.startswith(b"\x89PNG")
    assert full.startswith(b"\x89PNG")
    assert empty != full
    assert len(full) < 300_000
