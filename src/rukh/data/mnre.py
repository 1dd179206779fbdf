"""MNRE (Zheng et al., ACM MM 2021): tweets with an image, one pair per line.

A line is a Python dict literal, not JSON: ``{'token': [...], 'h': {'name', 'pos': [start, end)},
't': {...}, 'img_id', 'relation'}``, with positions in tokens. Entities have no type. The types
in the relation's label (``/per/org/...``) are part of the gold label, so they are not read.
"""

from __future__ import annotations

from typing import Any

from rukh.data.pair_format import PairFormat
from rukh.utils.parsing import parse_literal


class MnreFormat(PairFormat):
    """Reader and writer of MNRE's lines."""

    def loads(self, line: str) -> Any:
        """See :meth:`rukh.data.pair_format.PairFormat.loads`."""
        return parse_literal(line)

    def dumps(self, record: dict[str, Any]) -> str:
        """See :meth:`rukh.data.pair_format.PairFormat.dumps`."""
        return repr(record)
