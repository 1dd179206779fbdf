"""Relation descriptions drafted by a language model, and its endpoint.

May import schema, records, config, hub, errors and utils. The module ``endpoint`` requests,
validates, caches and counts answers. The module ``describe`` drafts descriptions.
"""
