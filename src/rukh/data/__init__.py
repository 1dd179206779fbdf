"""Data files: one reader a format, captions, dev splits, and posts composed from templates.

Imports records, schema, registry, hub, errors and utils only. :mod:`rukh.data.readers` has the
public functions ``read``, ``read_posts``, ``write`` and ``check``.
"""
