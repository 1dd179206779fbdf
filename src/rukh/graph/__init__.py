"""Triples become a knowledge graph: one entity for all its names, and edges with their evidence.

It may import records, schemas and the table of entity types, but no model: a graph is built from
files of triples. It exports ``KnowledgeGraph`` (``store``).
"""
