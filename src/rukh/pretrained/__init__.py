"""Shipped models, one folder each; :func:`rukh.weights.model_folder` finds them by name."""
