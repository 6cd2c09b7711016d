"""One classifier of several, or of someone else's adapters: ensembles, merging, folding, adopting."""
