"""Deletion and sufficiency: what is taken away, and how falls are summed up."""

from __future__ import annotations

import pytest
from research.faithfulness.study import Falls, measure, summarize

from rukh.extractor import Extractor
from rukh.records import Post


def test_ratios_and_intervals() -> None:
    falls = [Falls(post, 0.4, 0.1, 0.05, 0.3, None) for post in range(20)]
    found = summarize([*falls, Falls(0, 0.4, 0.1, 0.05, 0.3, None)])
    assert found["without the top words"] == pytest.approx((0.4, 0.4, 0.4))
    assert found["deletion, ratio"] == pytest.approx((4, 4, 4))
    assert found["with random words only"] == pytest.approx((0.3, 0.3, 0.3))


def test_the_words_that_state_a_relation_matter_more_than_random_ones() -> None:
    text = "Late last night, so the local paper says, Ann Lee was born in the old town of Rome."
    entities = [
        {"id": name, "start": text.index(word), "end": text.index(word) + len(word), "type": type_}
        for name, word, type_ in (("a", "Ann Lee", "PER"), ("r", "Rome", "LOC"))
    ]
    extractor = Extractor.from_pretrained("open")
    post = Post(id="1", text=text, entities=entities)
    (fall,) = measure(extractor, [post], "occlusion")
    assert fall.deleted > fall.deleted_random
    assert fall.left < fall.left_random
