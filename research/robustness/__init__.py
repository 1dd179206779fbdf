"""Robustness: figures under noise in words, types, captions, images, boxes and argument order."""
