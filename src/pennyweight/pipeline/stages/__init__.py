"""What a run does between reading and learning, and after it, where its recipe asks: one module for each stage."""
