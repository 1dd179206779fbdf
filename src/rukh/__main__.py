"""``python -m rukh`` is ``rukh``, which ``accelerate launch -m rukh train`` needs."""

from rukh.cli import main

main()
