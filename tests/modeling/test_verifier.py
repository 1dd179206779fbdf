"""The verifier: statements are independent of each other, and replace the logits of candidates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling import verifier as verification
from rukh.modeling.directions import to_probabilities
from rukh.modeling.model import RelationModel
from rukh.modeling.scorers import PairScores
from rukh.modeling.type_constraints import EXCLUDED
from rukh.modeling.verifier import (
    Statement,
    Verifier,
    VerifierConfig,
    save_verifier,
    select_candidates,
    verify_scores,
)
from rukh.records import Post

Make = Callable[..., RelationModel]


@pytest.fixture(scope="module")
def verifier(tiny_text: str) -> Verifier:
    torch.manual_seed(3)
    made = Verifier(VerifierConfig(text_encoder=tiny_text)).eval()
    for layer in (made.head[0], made.head[2]):
        torch.nn.init.normal_(layer.weight)
    return made


def post_of(*words: str, name: str = "p") -> Post:
    """A post of which every word that starts with a capital is an entity."""
    text, entities = "", []
    for word in words:
        if word[0].isupper():
            entities.append({"id": word, "start": len(text), "end": len(text) + len(word)})
        text += word + " "
    return Post(id=name, text=text, entities=entities)


POST = post_of("Ann", "lives", "near", "Oslo", "and", "Rome")
STATEMENTS = [
    Statement("Ann", "Oslo", "the head lives in the tail"),
    Statement("Oslo", "Ann", "the head lives in the tail"),
    Statement("Ann", "Rome", "a place"),
    Statement("Ann", "Rome", "The tail's person is the head, and the head moved to the tail."),
]


def test_a_statement_is_scored_alone_as_among_others(verifier: Verifier) -> None:
    together = verifier.verify([POST, POST], [STATEMENTS, STATEMENTS[:1]])
    alone = [verifier.verify([POST], [[one]])[0] for one in STATEMENTS]
    torch.testing.assert_close(together[0], torch.cat(alone), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1], alone[0], atol=1e-5, rtol=1e-4)
    assert len({round(float(value), 4) for value in together[0]}) == 4  # each is read
    assert verifier.verify([POST], [[]])[0].shape == (0,) and verifier.verify([], []) == []


@settings(max_examples=15, deadline=None)
@given(st.permutations(STATEMENTS), st.integers(1, 4))
def test_their_order_and_number_do_not_matter(
    verifier: Verifier, statements: list[Statement], limit: int
) -> None:
    expected = dict(zip(STATEMENTS, verifier.verify([POST], [STATEMENTS])[0], strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "MAX_STATEMENTS", limit)
        found = verifier.verify([POST], [statements])[0]
    wanted = torch.stack([expected[one] for one in statements])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_other_texts_and_the_numbers_of_markers(verifier: Verifier) -> None:
    ((one, part),) = verifier.tokenize(POST, STATEMENTS, numbers=[5, 0, 9])
    assert part == [0, 1, 2, 3]
    first = verifier.first_marker
    assert [token - first for token in one.text if token >= first] == [7, 1, 2, 1, 11, 1]
    assert [token - first for token in one.statements[1] if token >= first] == [0, 2, 7, 2, 7]
    with torch.inference_mode():
        changed = verifier([one._replace(text=[*one.text[:4], 7, *one.text[5:]])])
        assert not torch.allclose(verifier([one]), changed)


def test_long_texts_are_read_in_parts(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MAX_TEXT", 64)
    names = [f"Ann{number}" for number in range(30)]
    words = [word for name in names for word in (name, "sees", "the", "dog", "of")]
    post = post_of(*words)
    statements = [Statement(a, b, "the head sees the tail") for a, b in permutations(names, 2)]
    parts = verifier.tokenize(post, statements[:100])
    assert all(len(one.text) <= 64 for one, _ in parts)
    assert sorted({k for _, part in parts for k in part}) == list(range(100))
    (logits,) = verifier.verify([post], [statements[:100]])
    assert logits.isfinite().all() and (logits != 0).all()


def test_saving_and_loading(verifier: Verifier, tmp_path: Path) -> None:
    verifier.requires_grad_(True)
    save_verifier(verifier, tmp_path / "v", "card")
    loaded = Verifier.from_pretrained(tmp_path / "v")
    expected = verifier.verify([POST], [STATEMENTS])[0]
    torch.testing.assert_close(
        loaded.verify([POST], [STATEMENTS])[0], expected, atol=0.05, rtol=0.05
    )
    (tmp_path / "v/config.json").write_text('{"task": "relations"}')
    with pytest.raises(WeightsError):
        Verifier.from_pretrained(tmp_path / "v")
    (tmp_path / "v/config.json").write_text('{"task": "verifier", "scale": -1}')
    with pytest.raises(InputError, match="scale"):
        Verifier.from_pretrained(tmp_path / "v")


@pytest.fixture
def extractor(tiny_model: Make, verifier: Verifier) -> Extractor:
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    return Extractor(model, verifier=verifier, num_candidates=2, threshold=0.0)


def test_candidates_are_the_nearest_relations_of_both_directions(extractor: Extractor) -> None:
    bank = extractor.bank
    assert bank.names == ("near", "works_at", "employs", "lives_in")
    logits = torch.tensor(
        [[0.0, 3.0, 1.0, -2.0, -1.0, 4.0]]
    )  # the last: lives_in from tail to head
    scores = PairScores(logits, torch.zeros(1, 4, dtype=torch.int16), None)
    (found,) = select_candidates([("a", "b")], scores, bank, 3)
    facts = [(c.head, c.relation, c.tail, c.margin) for c in found]
    assert facts == [
        ("b", "lives_in", "a", 4.0),
        ("a", "near", "b", 3.0),
        ("a", "works_at", "b", 1.0),
    ]
    logits[0, 2:] = -EXCLUDED
    (found,) = select_candidates([("a", "b")], scores, bank, 3)
    assert [c.relation for c in found] == ["near"]


def test_verified_logits_replace_those_of_retrieval(
    extractor: Extractor, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VerifierConfig(scale=2.0, retrieval_scale=0.5, bias=1.0)
    monkeypatch.setattr(verifier, "config", config)
    pairs = [[("Ann", "Oslo"), ("Oslo", "Ann")]]
    scores = extractor.scores([POST], pairs)
    (verified,) = verify_scores(verifier, [POST], pairs, scores, extractor.bank, 2)
    for row, candidates in zip(
        verified.logits, select_candidates(pairs[0], scores[0], extractor.bank, 2), strict=True
    ):
        assert row[0] == 0 and (row[1:] > -EXCLUDED).sum() == 2
        for c in candidates:
            (output,) = verifier.verify([POST], [[Statement(c.head, c.tail, c.description)]])
            expected = 2 * float(output) + 0.5 * c.margin + 1
            assert float(row[c.column]) == pytest.approx(expected, abs=1e-3)
    forward, backward = to_probabilities(verified.logits, len(extractor.bank.names))
    near = 1 + extractor.bank.names.index("near")  # symmetric, so that both orders agree
    assert float(forward[near]) == pytest.approx(float(backward[near]), abs=1e-4)


def test_extraction_with_a_verifier(extractor: Extractor, posts: list[Post]) -> None:
    found = extractor.extract([POST])
    extractor.verifier = None
    plain = extractor.extract([POST])
    assert {(t.head.id, t.tail.id) for t in found} and found != plain
    # Pairs with an object are not read: their probabilities stay.
    objects = [post for post in posts if post.objects and not post.entities]
    before: Any = extractor.extract(objects)
    extractor.verifier = Verifier(
        VerifierConfig(text_encoder=extractor.model.config.pair.text_encoder)
    )
    assert extractor.extract(objects) == before
