"""How fast rukh is, in ratios taken within one run: ``python -m benchmarks``.

Absolute times say more about the machine, and what else it does, than about the code.
"""
