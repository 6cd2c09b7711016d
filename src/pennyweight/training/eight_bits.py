"""AdamW whose moments are kept in 8 bits (Dettmers et al. 2022, arXiv 2110.02861), by bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit

TABLES = {"qmap1": "dynamic", "qmap2": "udynamic"}
"""What the bytes of each moment mean: names in a parameter's state, and the library's for the tables themselves."""


class EightBitAdamW(AdamW8bit):  # type: ignore[misc]
    """bitsandbytes' own, with a state that a checkpoint can hold: tensors and numbers by name, nothing nested.

    Moments of parameters with fewer than 4,096 elements stay in fp32.
    """

    def state_dict(self) -> dict[str, Any]:
        """As every optimizer of PyTorch has it, without the tables of values, which are the same everywhere."""
        content: dict[str, Any] = torch.optim.Optimizer.state_dict(self)
        kept = {
            number: {key: value for key, value in state.items() if key not in TABLES}
            for number, state in content["state"].items()
        }
        return {**content, "state": kept}

    def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
        """Take a state back; steps are counted in whole numbers."""
        super().load_state_dict(state_dict, move_to_device=move_to_device)
        self.fill_qmap()
        for parameter, state in self.state.items():
            state["step"] = int(state["step"])
            if state["state1"].dtype is torch.uint8:
                for key, table in TABLES.items():
                    state[key] = self.name2qmap[table].to(parameter.device)
