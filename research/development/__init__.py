"""How well a model extracts relations that it never saw from raw text of four kinds."""
