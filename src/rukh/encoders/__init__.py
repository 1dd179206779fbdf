"""Encoders: text and pictures in, states out."""
