"""Parameters counted and allotted from a backbone's configuration alone: no weight is read."""
