"""Evaluation of extractors and taggers: metrics, predictions for labelled posts, and reports.

May import :mod:`rukh.extractor` and everything below it. ``evaluate.evaluate_posts`` is the entry
point. The module ``metrics`` needs no model.
"""
