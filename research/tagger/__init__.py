"""Tagger: span F1 and typing accuracy on tagged sentences."""
