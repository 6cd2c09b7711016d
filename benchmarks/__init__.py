"""Measurements, each a runnable module that prints JSON."""
