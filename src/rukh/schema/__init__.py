"""Relation schemas: relations with their descriptions, schema checks, and shipped schemas.

May import ``records``, ``hub``, ``errors`` and ``utils``. Text encoders are passed as callables.
The main export is :class:`rukh.schema.schema.RelationSchema`.
"""
