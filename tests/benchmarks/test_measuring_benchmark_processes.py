from __future__ import annotations

import sys

import pytest

from benchmarks.processes import PENNYWEIGHT, run


def test_time_memory_and_output_are_those_of_the_command():
    code = "import sys, time; held = bytearray(200_000_000); time.sleep(0.3); print('done', sys.argv[1])"
    ran = run([sys.executable, "-c", code, 7])
    assert ran.stdout == "done 7\n"
    assert ran.seconds >= 0.3
    assert ran.cpu_seconds > 0
    assert ran.peak_rss_bytes >= 200e6


def test_variables_are_set_besides_those_there_are(monkeypatch):
    monkeypatch.setenv("OLD", "1")
    code = "import os; print(os.environ['OLD'], os.environ['NEW'], 'PATH' in os.environ)"
    assert run([sys.executable, "-c", code], environment={"NEW": "2"}).stdout.split() == ["1", "2", "True"]


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 2:.*unknown recipe 'nothing'"):
        run([*PENNYWEIGHT, "plan", "nothing"])
    with pytest.raises(RuntimeError, match="ended with code -9"):
        run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])


def test_a_command_that_says_much_is_read_to_its_end():
    code = "import sys; print('o' * 1_000_000); print('e' * 1_000_000, file=sys.stderr)"
    assert len(run([sys.executable, "-c", code]).stdout) == 1_000_001
