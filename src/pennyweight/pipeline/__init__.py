"""Runs one recipe: the only place where a recipe is unpacked and the rooms are wired together."""
