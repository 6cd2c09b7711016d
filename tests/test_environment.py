from __future__ import annotations

import subprocess
import sys

from pennyweight.environment import peak_resident_bytes

HELD = """
import sys
from pennyweight.environment import peak_resident_bytes
before = peak_resident_bytes()
held = bytearray(b"x") * int(sys.argv[1])
during = peak_resident_bytes()
del held
print(before, during, peak_resident_bytes())
"""


def test_the_peak_is_what_was_held_at_a_time_and_stays():
    """In a process of its own; what this one holds beside it does not count."""
    mine = bytearray(b"y") * 300_000_000
    done = subprocess.run([sys.executable, "-c", HELD, "100000000"], capture_output=True, text=True, check=True)
    before, during, after = map(int, done.stdout.split())
    assert 95e6 < during - before < 130e6
    assert after > during - 2e6  # Linux adds pages up a little late
    assert before < 100e6
    assert peak_resident_bytes() > len(mine)
