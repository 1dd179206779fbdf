"""Sentence templates of relations that no corpus labels, and the command that fills them in."""
