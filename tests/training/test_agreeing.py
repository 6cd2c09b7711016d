from __future__ import annotations

from pennyweight.pipeline.processes import start_process
from pennyweight.training.agreeing import agreed


class Answers:
    """An accelerator of three processes, of which this one and another say the same."""

    num_processes, device = 3, "cpu"

    def reduce(self, tensor, reduction):
        assert reduction == "sum"
        return 2 * tensor


def test_answers_are_counted():
    assert agreed(Answers(), True) == 2
    assert agreed(Answers(), False) == 0
    assert agreed(start_process(cpu=True), True) == 1
