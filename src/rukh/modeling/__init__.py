"""The relation model: encoders, relation bank and scorers, and how posts are scored with them.

May import schema, records, hub, registry, errors and utils. Used by others: ``RelationModel``
(``model``), ``score_posts`` (``inference``), ``RelationBank``, ``TextEncoder``, ``FeatureCache``.
"""
