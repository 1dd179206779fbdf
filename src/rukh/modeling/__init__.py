"""The modeling room."""
