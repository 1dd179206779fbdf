"""LLM baseline: a language model that is measured as rukh is, end to end."""
