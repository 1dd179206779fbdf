"""Text of our own: posts with every relation marked, and sentence templates of more relations."""
