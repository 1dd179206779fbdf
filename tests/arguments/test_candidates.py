"""Candidate pairs, and the windows in which long texts are read."""

from __future__ import annotations

import re

import pytest

from rukh.arguments.candidates import candidate_pairs, candidate_parts, text_windows
from rukh.errors import InputError
from rukh.modeling.text_encoder import TokenizedText
from rukh.records import Post
from rukh.schema.schema import RelationSchema


def test_candidate_pairs_are_those_that_the_types_allow(
    posts: list[Post], tiny_schema: RelationSchema
) -> None:
    narrow = tiny_schema.model_copy(update={"relations": tiny_schema.relations[2:]})
    assert candidate_pairs(posts[0], narrow) == [("a", "org"), ("a", "r"), ("org", "a")]
    assert len(candidate_pairs(posts[0], tiny_schema)) == 6  # near allows every type
    assert len(candidate_pairs(posts[0], None)) == 6
    # An unknown type is allowed everywhere.
    assert candidate_pairs(posts[3], tiny_schema) == [("o1", "o2"), ("o2", "o1")]


def test_too_many_candidate_pairs(tiny_schema: RelationSchema) -> None:
    entities = [{"id": f"e{i}", "start": i, "end": i + 1, "type": "PER"} for i in range(257)]
    crowd = Post(id="crowd", text="".join(map(chr, range(0x4E00, 0x4E00 + 257))), entities=entities)
    fewer = crowd.model_copy(update={"entities": crowd.entities[:256]})
    assert len(candidate_pairs(fewer, tiny_schema)) == 256 * 255
    with pytest.raises(InputError) as error:
        candidate_pairs(crowd, tiny_schema)
    assert (error.value.where, error.value.field) == ("post 'crowd'", "pairs")


def test_two_mentions_of_one_name_are_no_candidate() -> None:
    spans = {"ann": (0, 7), "caps": (17, 24), "bob": (29, 32), "other": (37, 44)}
    entities = [{"id": name, "start": a, "end": b} for name, (a, b) in spans.items()]
    objects = [{"id": f"o{i}", "box": (0, 0, 1, 1), "label": "Ann Lee"} for i in range(2)]
    text = "Ann Lee, that is ANN LEE met Bob and ANN LEE"
    post = Post(id="1", text=text, entities=entities, objects=objects)
    pairs = candidate_pairs(post, None)
    names = {"ann", "caps", "other"}
    assert not [pair for pair in pairs if {*pair} <= names]
    assert ("ann", "bob") in pairs and ("o0", "o1") in pairs and ("o0", "ann") in pairs
    assert len(pairs) == 6 * 5 - 3 * 2


def words(text: str) -> TokenizedText:
    spans = [match.span() for match in re.finditer(r"\w+", text)]
    return TokenizedText([0] * len(spans), spans)


TEXTS = {
    "sentences": 'Ann Lee left Rome. Bob came! "Why?" Cleo sang in Oslo\nDan slept. ' * 30,
    "no sentences": "Ann met Bob and " * 100,
    "one word": "Ann",
    "nothing": "",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("room", [1, 2, 7, 40])
def test_windows_cover_the_text_fit_and_overlap(text: str, room: int) -> None:
    entities = Post(
        id="1",
        text=text,
        entities=[
            {"id": str(m.start()), "start": m.start(), "end": m.end()}
            for m in re.finditer("Ann|Bob", text)
        ],
    ).entities
    tokens = words(text)
    windows = text_windows(text, entities, tokens, room)
    assert windows[0][0] == 0 and windows[-1][1] == len(text)
    starts, ends = zip(*windows, strict=True)
    assert list(starts) == sorted({*starts})
    for start, end in windows:
        cost = sum(start <= a < end for a, _ in tokens.offsets)
        inside = [e for e in entities if start <= e.start < end]
        assert cost <= 1 or cost + 2 * len(inside) <= room
    if room == 40 and len(windows) > 1:
        for end, following in zip(ends, starts[1:], strict=False):
            shared = sum(following <= a < end for a, _ in tokens.offsets)
            assert shared >= 3
            if "Cleo" in text:
                before = text[:following].rstrip()
                assert before[-1] in '.!?"' or text[following - 1] == "\n"


def test_pairs_lie_within_a_window_and_are_listed_once() -> None:
    text = "Ann met Bob. " * 20
    entities = [
        {"id": str(m.start()), "start": m.start(), "end": m.end()}
        for m in re.finditer("Ann|Bob", text)
    ]
    objects = [{"id": "o", "box": (0, 0, 1, 1)}]
    post = Post(id="1", text=text, entities=entities, objects=objects, tokens=[(0, 3)])
    windows = text_windows(text, post.entities, words(text), 21)
    parts = candidate_parts(post, windows, None)
    assert len(parts) == len(windows) > 5
    listed = [pair for part in parts for pair in part.pairs]
    assert len(listed) == len({*listed})
    for part in parts:
        assert Post.model_validate(part.post.model_dump()) == part.post
        for entity in part.post.entities:
            assert part.post.surface(entity.id) == post.surface(entity.id)
        assert {name for pair in part.pairs for name in pair} <= {a.id for a in part.post.arguments}
    every = candidate_pairs(post, None)
    near = [
        (a, b) for a, b in every if "o" in (a, b) or abs(int(a) - int(b)) <= len("Ann met Bob. ")
    ]
    assert {*near} <= {*listed} < {*every}
    (whole,) = candidate_parts(post, [(0, len(text))], None)
    assert whole.post is post and whole.pairs == every
