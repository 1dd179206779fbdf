"""Evaluation: metrics over labels, predictions of labelled posts, taggers, and reports.

May import :mod:`rukh.extractor` and everything below it. ``evaluate.evaluate_posts`` is the entry
point; ``metrics`` needs no model.
"""
