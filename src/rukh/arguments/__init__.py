"""The arguments room."""
