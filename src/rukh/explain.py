"""Why a triple was predicted: the words and image regions, the descriptions, what would change it.

``occlusion`` hides one word or image patch after the other, and weighs it by how much the log-odds
of the relation fall. ``integrated_gradients`` (Sundararajan et al., 2017) gives weights that add up
to these log-odds, less those of a text without words. research/faithfulness compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rukh.arguments.candidates import PostPart
from rukh.errors import InputError, MissingDependency
from rukh.extractor import Extractor, PostQuery, PostTriples
from rukh.modeling.batch import collate
from rukh.modeling.inference import encode_posts, tokenize_pairs
from rukh.modeling.markers import WORD
from rukh.modeling.scorers import RetrievalScorer
from rukh.records import Box, EntityMention, Post, TextEntity, Triple, WordWeight

Method: TypeAlias = Literal["occlusion", "integrated_gradients"]
STEPS = (32, 128, 512)
"""Numbers of points on the path of integrated gradients; more, if the fewer are not exact."""
MAX_ERROR = 0.01
"""Error of the sum of all weights, as a share of what they are to add up to, that is exact."""
BATCH = 32
"""Number of changed posts that are encoded together."""
MAX_REASON = 5
REASON_SHARE = 0.6
"""A reason has at most this many words, and no more than carry this share of the decision."""
WORDS = re.compile("\\w+(?:['\u2019-]\\w+)*|[^\\w\\s]+")


class Region(NamedTuple):
    """A part of the picture, with its share in the log-odds of the relation."""

    box: Box
    weight: float


class Change(NamedTuple):
    """What the answer would be for a changed post.

    Attributes:
        what: The change, such as ``without the word 'chief'``.
        relation: The most probable relation then, or None.
        score: Its probability.
        before: The probability that the explained relation has then.
    """

    what: str
    relation: str | None
    score: float
    before: float


@dataclass(frozen=True)
class Explanation:
    """Why a triple was predicted.

    Attributes:
        triple: The triple, with the most probable relations.
        words: The words of the text, in order.
        regions: The patches of the picture, row by row; none if the model reads no picture.
        descriptions: The relation's descriptions with the cosines to the pair, the best first.
        changes: Answers for changed posts.
        error: How far the weights of integrated gradients are from adding up, as a share of the
            total. None: occlusion, whose weights need not add up.
    """

    triple: Triple
    words: tuple[WordWeight, ...]
    regions: tuple[Region, ...]
    descriptions: tuple[tuple[str, float], ...]
    changes: tuple[Change, ...]
    error: float | None

    @property
    def reason(self) -> tuple[WordWeight, ...]:
        """The words outside of head and tail that carried the decision, neighbours joined."""
        taken = [(m.start, m.end) for m in (self.triple.head, self.triple.tail)
                 if isinstance(m, EntityMention)]  # fmt: skip
        free = [
            word
            for word in self.words
            if word.weight > 0
            and any(c.isalnum() for c in word.text)
            and all(word.end <= start or word.start >= end for start, end in taken)
        ]
        enough, kept = REASON_SHARE * sum(word.weight for word in free), []
        for word in sorted(free, key=lambda word: -word.weight)[:MAX_REASON]:
            kept.append(word)
            if sum(one.weight for one in kept) >= enough:
                break
        return tuple(_join(sorted(kept, key=lambda word: word.start)))

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the triple, with the explanation, with JSON's types only."""
        row = self.triple.model_copy(update={"reason": self.reason}).to_dict()
        return row | {
            "words": [word.model_dump() for word in self.words],
            "regions": [region._asdict() for region in self.regions],
            "descriptions": [
                {"text": text, "similarity": cosine} for text, cosine in self.descriptions
            ],
            "changes": [change._asdict() for change in self.changes],
            "completeness_error": self.error,
        }


def _join(words: Iterable[WordWeight]) -> list[WordWeight]:
    """Join words with at most one character between them."""
    result: list[WordWeight] = []
    for word in words:
        if result and word.start - result[-1].end <= 1:
            last = result.pop()
            text = last.text + " " * (word.start - last.end) + word.text
            weight = round(last.weight + word.weight, 4)
            word = WordWeight(text=text, start=last.start, end=word.end, weight=weight)
        result.append(word)
    return result


def explain(
    extractor: Extractor,
    post: Post,
    triple: Triple,
    *,
    method: Method = "occlusion",
    with_changes: bool = True,
) -> Explanation:
    """Explain a triple.

    Args:
        extractor: What predicted the triple.
        post: The post with its arguments, as :meth:`Extractor.stream_posts` returns it.
        triple: A triple of this post, with a relation.
        method: How words and patches are attributed.
        with_changes: Whether to find what would change the answer.

    Raises:
        InputError: The triple has no relation of the extractor's schema, or is of another post.
        MissingDependency: Captum is not installed, which integrated gradients need.

    Example:
        >>> extractor = Extractor.from_pretrained("open")
        >>> ((post, (triple, *_)),) = extractor.stream_posts(["Ann Lee was born in Rome."])
        >>> explanation = explain(extractor, post, triple)
        >>> [word.text for word in explanation.reason]
        ['born']
    """
    probe = _Probe(extractor, post, triple)
    attribute = probe.occlude if method == "occlusion" else probe.integrate
    words, patches, error = attribute()
    found = probe.words(words)
    regions = tuple(
        Region((x1, y1, x2, y2), round(weight, 4))
        for (x1, y1, x2, y2), weight in zip(probe.boxes(), patches, strict=True)
    )
    explanation = Explanation(triple, found, regions, probe.descriptions(), (), error)
    changes = tuple(probe.changes(explanation.reason)) if with_changes else ()
    return replace(explanation, changes=changes)


def add_reasons(
    extractor: Extractor, results: Iterable[PostTriples], method: Method = "occlusion"
) -> Iterator[PostTriples]:
    """Give the triples of ``stream_posts`` that have a relation their ``reason``."""
    for post, triples in results:
        explained = []
        for triple in triples:
            if triple.relation in extractor.bank.names:
                why = explain(extractor, post, triple, method=method, with_changes=False)
                triple = triple.model_copy(update={"reason": why.reason})
            explained.append(triple)
        yield PostTriples(post, explained)


def embedding_map(
    extractor: Extractor, results: Iterable[PostTriples]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Place pairs and relations in a plane, in which near ones are similar.

    The two axes are those along which the relations' mean descriptions differ most.

    Args:
        extractor: What predicted the triples.
        results: Posts with their triples, as from ``stream_posts``.

    Returns:
        The place of each triple, in order, and of each relation of the bank. Both are empty if
        the model does not compare pairs with descriptions.
    """
    model, bank = extractor.model, extractor.bank
    if not isinstance(model.scorer, RetrievalScorer):
        return [], []
    results = [one for one in results if one.triples]
    types = {**model.schema.types, **bank.types}
    pairs = [[(t.head.id, t.tail.id) for t in one.triples] for one in results]
    posts = [one.post for one in results]
    found = encode_posts(model, types, posts, pairs, extractor.visual_features(posts))
    with torch.no_grad():
        vectors = model.scorer.project(bank.to(model.device)).cpu()
    own = [[int(k) for k in row if k >= 0] for row in bank.prototypes]
    relations = torch.stack([vectors[some].mean(0) for some in own])
    centre = relations.mean(0)
    _, _, axes = torch.linalg.svd(relations - centre, full_matrices=False)
    plane = axes[:2].T
    places = (torch.cat([torch.zeros(0, len(centre)), *found]) - centre) @ plane

    def points(values: Tensor) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in values]

    return points(places), points((relations - centre) @ plane)


class _Probe:
    """The log-odds of one triple's relation, as a function of what the post contains."""

    def __init__(self, extractor: Extractor, post: Post, triple: Triple) -> None:
        self.extractor, self.post, self.triple = extractor, post, triple
        model, self.bank = extractor.model, extractor.bank
        self.pair = (triple.head.id, triple.tail.id)
        if triple.relation not in self.bank.names:
            problem = f"relation {triple.relation!r} is not in schema {extractor.schema.name!r}"
            raise InputError(problem, fix="explain a triple that has a relation")
        if triple.post_id != post.id or not {*self.pair} <= {a.id for a in post.arguments}:
            raise InputError(f"the triple is not one of post {post.id!r}")
        self.column = 1 + self.bank.names.index(triple.relation)
        (self.sequence,) = tokenize_pairs(model, post, [self.pair])
        self.image = extractor.visual_features([post])[0]
        # What disallowed types cost does not depend on the words.
        (costs,) = extractor.type_costs([post], [[self.pair]]) or [torch.zeros(1)]
        self.costs = costs.to(model.device)
        self.text_encoder = model.pair_encoder.text_encoder
        ids = torch.tensor(self.sequence.ids, device=model.device)
        special = {self.text_encoder.start_id, self.text_encoder.end_id}
        self.content = torch.tensor(
            [
                role == WORD and token not in special
                for role, token in zip(self.sequence.roles, self.sequence.ids, strict=True)
            ],
            device=model.device,
        )
        tokenizer = self.text_encoder.tokenizer
        hidden = tokenizer.mask_token_id or tokenizer.pad_token_id
        with torch.no_grad():
            self.embeddings = self.text_encoder.embed_tokens(ids)[None]
            without_words = torch.where(self.content, hidden, ids)
            self.masked = self.text_encoder.embed_tokens(without_words)[None]
        nothing = torch.zeros(0, model.config.visual_dim)
        states = nothing if self.image is None else self.image.states
        self.patches = states.to(model.device)[None]

    def log_odds(self, words: Tensor, patches: Tensor) -> Tensor:
        """Return the log-odds ``(n,)`` for word embeddings ``(n, T, d)`` and patches."""
        model, count = self.extractor.model, len(words)
        batch = collate(
            [self.sequence] * count,
            [self.post.objects] * count,
            [self.image] * count,
            model.config.visual_dim,
        ).to(model.device)
        scores = model(replace(batch, patches=patches), self.bank, words=words)
        logits = model.calibrate(scores.logits - self.costs, self.bank.to(model.device))
        if self.extractor.directed and self.post.pairs is not None:
            logits = logits[:, : 1 + len(self.bank.names)]
        others = torch.cat([logits[:, : self.column], logits[:, self.column + 1 :]], 1)
        return logits[:, self.column] - others.logsumexp(1)

    def integrate(self) -> tuple[Tensor, list[float], float]:
        """Return the weights of positions and patches by integrated gradients, and their error."""
        try:
            from captum.attr import IntegratedGradients
        except ImportError:
            raise MissingDependency("captum", "explain") from None
        inputs, start = (self.embeddings, self.patches), (self.masked, self.patches * 0)
        with torch.no_grad():
            total = float((self.log_odds(*inputs) - self.log_odds(*start))[0])
        weights: list[Tensor] = []
        error = 1.0
        for steps in STEPS:
            found = IntegratedGradients(self.log_odds).attribute(
                inputs, start, n_steps=steps, internal_batch_size=BATCH
            )
            weights = [one[0].sum(-1).detach().float().cpu() for one in found]
            error = abs(sum(float(one.sum()) for one in weights) - total) / max(abs(total), 0.1)
            if error <= MAX_ERROR:
                break
        return weights[0], weights[1].tolist(), error

    def occlude(self) -> tuple[Tensor, list[float], None]:
        """Return how much the log-odds fall without each word and patch."""
        groups = [
            [k for k, token in enumerate(self.sequence.tokens) if token in tokens]
            for _, tokens in self._tokens_of_words
        ]
        weights = torch.zeros(len(self.sequence))
        with torch.no_grad():
            before = self.log_odds(self.embeddings, self.patches)
            variants = self.embeddings.repeat(len(groups), 1, 1)
            for row, positions in enumerate(groups):
                variants[row, positions] = self.masked[0, positions]
            for row, fall in enumerate(self._falls(before, variants, None)):
                if groups[row]:  # a word's weight stands at its first position
                    weights[groups[row][0]] = fall
            without = self.patches.repeat(self.patches.shape[1], 1, 1)
            for row in range(len(without)):
                without[row, row] = 0
            patches = self._falls(before, None, without)
        return weights, patches, None

    def _falls(self, before: Tensor, words: Tensor | None, patches: Tensor | None) -> list[float]:
        count = len(words) if words is not None else len(patches) if patches is not None else 0
        falls: list[float] = []
        for first in range(0, count, BATCH):
            size = min(BATCH, count - first)
            some = slice(first, first + size)
            left = self.log_odds(
                self.embeddings.expand(size, -1, -1) if words is None else words[some],
                self.patches.expand(size, -1, -1) if patches is None else patches[some],
            )
            falls += (before - left).tolist()
        return falls

    @cached_property
    def _tokens_of_words(self) -> list[tuple[re.Match[str], set[int]]]:
        """Return the words of the text, each with the indices of its tokens."""
        offsets = self.text_encoder.tokenize(self.post.text).offsets
        return [
            (word, {k for k, (a, b) in enumerate(offsets) if a < word.end() and b > word.start()})
            for word in WORDS.finditer(self.post.text)
        ]

    def words(self, weights: Tensor) -> tuple[WordWeight, ...]:
        """Return the words of the text with the sum of the weights of their positions."""
        by_token: dict[int, float] = {}
        for token, weight in zip(self.sequence.tokens, weights.tolist(), strict=True):
            if token >= 0:
                by_token[token] = by_token.get(token, 0.0) + weight
        return tuple(
            WordWeight(
                text=word.group(),
                start=word.start(),
                end=word.end(),
                weight=round(sum(by_token.get(token, 0.0) for token in tokens), 4),
            )
            for word, tokens in self._tokens_of_words
        )

    def boxes(self) -> list[list[float]]:
        """Return the boxes of the picture's patches."""
        return [] if self.image is None else self.image.boxes.tolist()

    def descriptions(self) -> tuple[tuple[str, float], ...]:
        """Return the relation's descriptions and their cosines to the pair, the best first."""
        model = self.extractor.model
        if not isinstance(model.scorer, RetrievalScorer):
            return ()
        chosen = [int(k) for k in self.bank.prototypes[self.column - 1] if k >= 0]
        with torch.no_grad():
            vectors = model.scorer.project(self.bank.to(model.device))[chosen].cpu()
        types = {**model.schema.types, **self.bank.types}
        (pairs,) = encode_posts(model, types, [self.post], [[self.pair]], [self.image])
        cosines = vectors @ pairs[0]
        ranked = sorted(zip(cosines.tolist(), chosen, strict=True), reverse=True)
        return tuple((self.bank.descriptions[k], round(cosine, 4)) for cosine, k in ranked)

    def changes(self, reason: Sequence[WordWeight]) -> list[Change]:
        """Return the answers without the picture, without words of the reason, and by type.

        Of the other types of head and tail, those are left out with which the answer is the same.
        """
        posts: list[tuple[str, Post, bool]] = []
        if self.image is not None:
            without = self.post.model_copy(update={"image": None})
            posts.append(("without the picture", without, True))
        for word in sorted(reason, key=lambda word: -word.weight)[:3]:
            without = without_words(self.post, [(word.start, word.end)])
            posts.append((f"without {word.text!r}", without, True))
        for role, name in zip(("head", "tail"), self.pair, strict=True):
            own = self.post.argument(name).type
            for type_ in sorted(self.extractor.known_types - {own}):
                posts.append(
                    (f"with a {role} of type {type_}", self._with_type(name, type_), False)
                )
        queries = [
            PostQuery(post, [PostPart(post, [self.pair])], pairs_given=self.post.pairs is not None)
            for _, post, _ in posts
        ]
        size = 1 + len(self.bank.names)
        answers = self.extractor.predict(queries, top_k=size)
        nota, changes = self.extractor.schema.nota, []
        for (what, _, always), (answer,) in zip(posts, answers, strict=True):
            ranking = {one.relation: one.score for one in answer.ranking or ()}
            relation = None if answer.relation == nota else answer.relation
            if always or relation != self.triple.relation:
                before = ranking.get(self.triple.relation, 0.0)
                changes.append(Change(what, relation, answer.score, before))
        return changes

    def _with_type(self, name: str, type_: str) -> Post:
        update = {"type": type_, "type_confidence": None}
        return self.post.model_copy(
            update={
                "entities": tuple(
                    one.model_copy(update=update) if one.id == name else one
                    for one in self.post.entities
                ),
                "objects": tuple(
                    one.model_copy(update={"type": type_}) if one.id == name else one
                    for one in self.post.objects
                ),
            }
        )


def without_words(post: Post, spans: Sequence[tuple[int, int]]) -> Post:
    """Return a post without some spans of its text, none of which may overlap an entity.

    Example:
        >>> post = Post(id="1", text="Ann left Rome", entities=[{"id": "r", "start": 9, "end": 13}])
        >>> shorter = without_words(post, [(4, 8)])
        >>> shorter.text, shorter.surface("r")
        ('Ann  Rome', 'Rome')
    """
    entities: tuple[TextEntity, ...] = post.entities
    text = post.text
    for start, end in sorted(spans, reverse=True):
        gone = end - start
        text = text[:start] + text[end:]
        entities = tuple(
            one.model_copy(update={"start": one.start - gone, "end": one.end - gone})
            if one.start >= end
            else one.model_copy(update={"end": one.end - gone})
            if one.end >= end
            else one
            for one in entities
        )
    return post.model_copy(update={"text": text, "entities": entities, "tokens": None})
