"""OpenNRE (Han et al., EMNLP 2019), the format of Wiki80: one pair a line, as JSON.

A record has ``token, h {name, pos, type, id}, t, relation`` with positions ``[start, end)`` in
tokens, or ``text`` in place of ``token`` with positions in characters.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from rukh.data.pair_format import PairFormat
from rukh.utils.parsing import parse_json


class OpenNreFormat(PairFormat):
    """Reader and writer of OpenNRE's lines; a post without tokens is written with ``text``."""

    directed: ClassVar[bool] = True
    writes_text: ClassVar[bool] = True

    def loads(self, line: str) -> Any:
        """See :meth:`rukh.data.pair_format.PairFormat.loads`."""
        return parse_json(line)

    def dumps(self, record: dict[str, Any]) -> str:
        """See :meth:`rukh.data.pair_format.PairFormat.dumps`."""
        return json.dumps(record, ensure_ascii=False, allow_nan=False)
