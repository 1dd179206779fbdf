"""Serve a GGUF file over the OpenAI protocol on this machine: ``serve.py FILE [PORT]``.

Runs in the environment that ``setup.py`` makes, which has xllamacpp and nothing of rukh. Prints the
server's address once it answers, and stops when its standard input is closed. Without a port, a
free one is taken.
"""

from __future__ import annotations

import os
import sys

import xllamacpp


def main(file: str, port: int = 0) -> None:
    """Serve until whoever started us is gone."""
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_ctx, params.n_parallel = 4096, 1
    threads = int(os.environ.get("OMP_NUM_THREADS") or 2)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads do not listen


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
