"""Relation schemas: relations with their descriptions, checks of them, and the shipped catalogue.

May import ``records``, ``hub``, ``errors`` and ``utils``. Text encoders are passed in as callables.
The main export is :class:`rukh.schema.schema.RelationSchema`.
"""
