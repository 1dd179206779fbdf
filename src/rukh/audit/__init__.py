"""The leakage audit (``rukh audit``): find inputs that reveal the labels without text or image.

May import ``data``, ``records``, ``utils`` and ``errors``. Exports :func:`rukh.audit.audit.audit`;
the decision itself is :func:`rukh.audit.verdict.verdict`.
"""
