"""From token batches to logits."""
