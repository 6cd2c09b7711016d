"""``python -m pennyweight``, which is also what ``accelerate launch -m pennyweight`` runs."""

from pennyweight.cli import main

main()
