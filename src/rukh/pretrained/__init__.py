"""Shipped models, one folder each; :func:`rukh.hub.model_folder` finds them by name."""
