"""Judging finished classifiers: one, several side by side, on spoilt texts, and the choice of the best."""
