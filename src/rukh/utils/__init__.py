"""Shared utilities: atomic files, batches, the disk cache, the bootstrap, Markdown, progress.

Imports only ``rukh.errors`` of rukh. The package exports nothing; import its modules.
"""
