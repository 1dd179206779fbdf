"""Few-shot: what some examples of each relation add to its descriptions."""
