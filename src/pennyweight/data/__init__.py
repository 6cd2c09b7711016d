"""From a source of texts to token batches."""
