"""How the processes of one run agree on what each of them knows by itself."""

from __future__ import annotations

from typing import Any

import torch


def agreed(accelerator: Any, answer: bool) -> int:
    """How many processes of an ``accelerate.Accelerator`` answer yes; each must ask."""
    if accelerator.num_processes == 1:
        return int(answer)
    return int(accelerator.reduce(torch.tensor(float(answer), device=accelerator.device), reduction="sum"))
