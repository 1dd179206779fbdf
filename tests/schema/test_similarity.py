"""Similarity of relations."""

from __future__ import annotations

import numpy as np
import pytest

from helpers_schema import SPECIAL, embed, schema
from rukh.schema.similarity import embed_schema


def test_nearest_relations() -> None:
    table = embed_schema(schema(), embed)
    assert [relation.name for relation in table.relations] == ["n", "n2", SPECIAL, "alone"]
    # A relation without descriptions is represented by the words of its label.
    assert table.texts[-1] == "alone" and table.owner.tolist() == [0, 1, 1, 2, 3]
    assert np.linalg.norm(table.centroids, axis=1) == pytest.approx(1)
    assert table.nearest(0, 2)[0] == 1
    # A relation with the same types comes before one with a higher cosine.
    assert embed_schema(schema("B"), embed).nearest(2, 1) == [1]
