"""What a language model may write: answers of an endpoint, and drafts of relation descriptions.

May import schema, records, config, hub, errors and utils. Import the modules: ``endpoint`` asks,
validates, caches and counts; ``describe`` drafts descriptions.
"""
