"""How the tokens of a batch lie in memory: padded to the longest text, or packed end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pennyweight.model.attention import Spans


@dataclass(frozen=True)
class Padded:
    """Hidden states are [texts, longest, width]; what lies behind a text's end is padding."""

    seen: Tensor
    """1 for tokens, 0 for padding, [texts, longest]."""
    lead: int = 0
    """Vectors before each text's first token that are no tokens of it and are not pooled."""

    def arguments(self, config: Any, hidden: Tensor) -> dict[str, Any]:
        """What an encoder layer takes beside ``hidden``."""
        from transformers.masking_utils import create_bidirectional_mask

        return {
            "attention_mask": create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=self.seen)
        }

    def first_tokens(self, hidden: Tensor) -> Tensor:
        """Each text's first token, one query per text: [texts, 1, width]."""
        return hidden[:, self.lead : self.lead + 1]

    def first_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What attention takes where only first tokens ask, out of what it takes where all do."""
        mask = arguments["attention_mask"]
        return {**arguments, "attention_mask": mask if mask is None else mask[:, :, self._first(mask)]}

    def _first(self, mask: Tensor) -> slice:
        """The row of a mask that is each first token's; a mask of one row has the same for all."""
        return slice(self.lead, self.lead + 1) if mask.shape[2] > 1 else slice(0, 1)

    def mean(self, hidden: Tensor) -> Tensor:
        """The mean over each text's tokens, fp32 [texts, width]."""
        weights = self.seen[:, self.lead :].unsqueeze(-1).float()
        return (hidden[:, self.lead :].float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class Packed:
    """Hidden states are [1, tokens, width]: the texts end to end, with no padding."""

    starts: Tensor
    """Where each text begins, and the end of the last, int32 [texts + 1]."""
    longest: int
    """Tokens of the longest text."""
    lead: int = 0
    """Vectors before each text's first token that are no tokens of it and are not pooled."""

    def arguments(self, config: Any, hidden: Tensor) -> dict[str, Any]:
        """What an encoder layer takes beside ``hidden``."""
        return {"attention_mask": None, "spans": Spans(self.starts, self.starts, self.longest, self.longest)}

    def first_tokens(self, hidden: Tensor) -> Tensor:
        """Each text's first token, packed: [1, texts, width]."""
        return hidden[:, self.starts[:-1].long() + self.lead]

    def first_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What attention takes where only first tokens ask, out of what it takes where all do."""
        starts = torch.arange(len(self.starts), dtype=torch.int32, device=self.starts.device)
        return {**arguments, "spans": Spans(starts, self.starts, 1, self.longest)}

    def mean(self, hidden: Tensor) -> Tensor:
        """The mean over each text's tokens, fp32 [texts, width]."""
        lengths = self.starts.diff().long()
        owners = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)
        states = hidden[0]
        if self.lead:
            places = torch.arange(len(owners), device=hidden.device) - self.starts[:-1].long()[owners]
            states, owners, lengths = states[places >= self.lead], owners[places >= self.lead], lengths - self.lead
        sums = hidden.new_zeros(len(lengths), hidden.shape[-1], dtype=torch.float32)
        return sums.index_add(0, owners, states.float()) / lengths.unsqueeze(-1)


Layout = Padded | Packed


def pack(batch: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Packed]:
    """Take the padding out of a batch.

    Args:
        batch: token numbers [texts, length], or hidden states [texts, length, width].
        attention_mask: 1 for tokens, 0 for padding, which is on the right, [texts, length].

    Returns:
        The batch as [1, tokens, …], each token's place in its text from 0 on, [1, tokens], and the layout.
    """
    kept = attention_mask.bool()
    lengths = attention_mask.sum(dim=1)
    starts = torch.nn.functional.pad(lengths.cumsum(dim=0), (1, 0)).to(torch.int32)
    places = torch.arange(batch.shape[1], device=batch.device).expand(batch.shape[:2])
    return batch[kept][None], places[kept][None], Packed(starts, int(lengths.max()))
