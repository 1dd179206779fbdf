"""OpenNRE (Han et al., EMNLP 2019), the format of Wiki80: one pair per line, as JSON.

A record has the keys ``token, h {name, pos, type, id}, t, relation``; a position ``[start, end)``
counts tokens. If it has ``text`` in place of ``token``, positions count characters.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from rukh.data.pair_format import PairFormat
from rukh.utils.parsing import parse_json


class OpenNreFormat(PairFormat):
    """Reader and writer of OpenNRE's lines. A post without tokens is written with ``text``."""

    directed: ClassVar[bool] = True
    writes_text: ClassVar[bool] = True

    def loads(self, line: str) -> Any:
        """See :meth:`rukh.data.pair_format.PairFormat.loads`."""
        return parse_json(line)

    def dumps(self, record: dict[str, Any]) -> str:
        """See :meth:`rukh.data.pair_format.PairFormat.dumps`."""
        return json.dumps(record, ensure_ascii=False, allow_nan=False)
