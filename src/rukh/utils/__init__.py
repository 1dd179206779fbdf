"""Tools of every room: atomic files, batches, the disk cache, the bootstrap, Markdown, progress.

Imports nothing of rukh but ``rukh.errors``. Import the modules; the package exports nothing.
"""
