"""Ablation: one configuration trained again and again, each time with one thing changed."""
