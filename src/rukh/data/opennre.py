"""OpenNRE's JSON lines, the form of Wiki80: ``token, h {name, pos, type, id}, t, relation``.

Positions are ``[start, end)`` in tokens; where a record has ``text`` in place of ``token``, in
characters (Han et al., EMNLP 2019). An entity type of ``UNK`` is read as unknown.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from rukh.data.lines import from_json
from rukh.data.pair_format import PairFormat
from rukh.data.tokens import Offsets
from rukh.records import Post


class OpenNreFormat(PairFormat):
    """JSON lines; a post without tokens is written in the ``text`` form, so nothing is cut."""

    directed: ClassVar[bool] = True

    def loads(self, line: str) -> Any:
        """See :meth:`rukh.data.pair_format.PairFormat.loads`."""
        return from_json(line)

    def dumps(self, record: dict[str, Any]) -> str:
        """See :meth:`rukh.data.pair_format.PairFormat.dumps`."""
        return json.dumps(record, ensure_ascii=False, allow_nan=False)

    def tokenise(self, post: Post) -> Offsets | None:
        """See :meth:`rukh.data.pair_format.PairFormat.tokenise`."""
        return None if post.tokens is None else super().tokenise(post)
