"""From a model and batches to a better model."""
