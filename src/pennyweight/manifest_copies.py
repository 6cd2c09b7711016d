"""What ``classifier.json`` says of altered copies, over which a classifier averages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pennyweight.recipe import TestTimeStep


class CopiesRecord(BaseModel):
    """Altered copies of a text, over which its probabilities are averaged with its own."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)

    count: int = Field(ge=1)
    """Copies of each text."""
    operations: Annotated[tuple[TestTimeStep, ...], Field(min_length=1)] = ("swap", "delete")
    strength: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a text's words that is altered, one word at least."""
