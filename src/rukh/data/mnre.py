"""MNRE: tweets with a picture, one pair a line, each line a Python dict literal (not JSON).

``{'token': [...], 'h': {'name', 'pos': [start, end)}, 't': {...}, 'img_id', 'relation'}`` with
positions in tokens (Zheng et al., ACM MM 2021). Entities have no type: the one inside the
relation's label (``/per/org/...``) is the gold answer's, so it is never read off.
"""

from __future__ import annotations

from typing import Any

from rukh.data.lines import from_literal
from rukh.data.pair_format import PairFormat


class MnreFormat(PairFormat):
    """Dict literals, read without evaluating anything."""

    def loads(self, line: str) -> Any:
        """See :meth:`rukh.data.pair_format.PairFormat.loads`."""
        return from_literal(line)

    def dumps(self, record: dict[str, Any]) -> str:
        """See :meth:`rukh.data.pair_format.PairFormat.dumps`."""
        return repr(record)
