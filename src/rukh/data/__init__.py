"""Data files: one reader per format, captions, corpora and dev splits.

Imports records, schema, registry, hub, errors and utils only. :mod:`rukh.data.readers` has the
public functions ``scan``, ``read``, ``read_posts`` and ``write``.
"""
