"""What some tests need of the processor they run on."""

from __future__ import annotations

import pytest
import torch

from pennyweight.model.quantising import VNNI

has_int8 = any(torch.cpu.get_capabilities().get(name) for name in VNNI)
needs_int8 = pytest.mark.skipif(not has_int8, reason="this CPU has neither VNNI nor AMX")
