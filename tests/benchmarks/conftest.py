from __future__ import annotations

import sys
from pathlib import Path

# The package of measurements lies at the root of the repository and is not installed; this folder bears its name.
sys.path.insert(0, str(Path(__file__).parents[2]))
