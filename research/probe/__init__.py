"""The visual probe: posts that only their images decide, made anew for every test."""
