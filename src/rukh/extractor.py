"""The extractor: posts in, triples out. Every surface calls this one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor

from rukh.arguments.detection import MAX_OBJECTS, Detector, load_detector, with_objects
from rukh.arguments.label_map import normalize_types
from rukh.arguments.tagger import Tagger, load_tagger
from rukh.candidates import MAX_ARGUMENTS_FOR_ALL_PAIRS, MAX_DETECTED_ENTITIES, candidate_pairs
from rukh.modeling.directions import num_columns
from rukh.modeling.image_features import FeatureCache, image_features
from rukh.modeling.inference import PostScores, score_posts
from rukh.modeling.model import RelationModel
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.type_constraints import Constraints, violations
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Direction, Post, Triple
from rukh.schema.schema import RelationSchema
from rukh.triples import Answers, best_direction_only, triples_of
from rukh.utils.batching import split_by_count

CHUNK = 256
"""Posts that are read, encoded and answered together, and the unit of resuming."""
CELLS = 1 << 23
"""Scores of pairs and relations that stand in memory at once, some ten times over: 300 MB."""


class Extractor:
    """Names the relations between the arguments of posts, and finds those that are not given.

    Args:
        model: The two towers.
        tagger: Types entities that come without a type, and finds those of posts that come without
            any. None: the one that the model names.
        schema: The relations to choose from. None: the model's own.
        threshold: The least probability at which a relation is told. None: the model's own.
        constraints: How types that a relation does not allow count against it.
        direction: ``given``, where posts that name their pairs name the head first, and a relation
            the other way round is out of the question; see :mod:`rukh.modeling.directions`.
        detector: Finds objects in pictures of posts that come without any. None: nothing does.
        max_objects: The most objects that are taken of a picture, the surest first.
        feature_folder: Where to keep the patch states of pictures; None keeps them in memory.

    Attributes:
        features: The pictures' cache; its ``missing`` and ``broken`` say which could not be read.
            None until a post has a picture.
        cut: By the ids of posts in whose text more entities were found than are asked, how many
            were left out; see :meth:`found`.
        silent: How many posts had no arguments, given or found.
        given_types: Of the types that posts gave their entities, how often each, in the words of
            :meth:`typed`.

    Example:
        >>> extractor = Extractor.from_pretrained("mnre")
        >>> (triple,) = extractor.extract([Post(id="0", text="Ann Lee was born in Rome")])
        >>> triple.head_entity.text, triple.tail_entity.text
        ('Ann Lee', 'Rome')
        >>> post = Post(id="1", text="Ann Lee was born in Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 7}, {"id": "r", "start": 20, "end": 24}],
        ...     pairs=[{"head": "a", "tail": "r"}])
        >>> [(t.head, t.tail) for t in extractor.extract([post])]
        [('a', 'r')]
    """

    def __init__(
        self,
        model: RelationModel,
        *,
        tagger: Tagger | None = None,
        schema: RelationSchema | None = None,
        threshold: float | None = None,
        constraints: Constraints = "soft",
        direction: Direction = "either",
        detector: Detector | None = None,
        max_objects: int = MAX_OBJECTS,
        feature_folder: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.schema = schema or model.schema
        self.bank = model.bank(self.schema)
        # A head that cannot take these relations says so here, not at the first post.
        nothing = torch.zeros(0, model.config.pair.dim)
        model.scorer(PairEncoding(nothing, nothing, nothing), self.bank)
        self.threshold = model.config.threshold if threshold is None else threshold
        self.constraints, self.direction = constraints, direction
        self.detector, self.max_objects = detector, max_objects
        self.features: FeatureCache | None = None
        self.cut: dict[str, int] = {}
        self.silent = 0
        self.given_types: Counter[str] = Counter()
        self._tagger = tagger
        self._feature_folder = feature_folder

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "mnre",
        *,
        tagger: str | Path | Tagger | None = None,
        schema: str | Path | RelationSchema | None = None,
        threshold: float | None = None,
        constraints: Constraints = "soft",
        direction: Direction = "either",
        detector: str | Detector | None = None,
        max_objects: int = MAX_OBJECTS,
        feature_folder: Path | None = None,
    ) -> Extractor:
        """Load a shipped model by name, or a folder that ``rukh train`` wrote.

        The tagger may be a name, as :func:`rukh.arguments.tagger.load_tagger` takes it, and so may the
        detector, as :func:`rukh.arguments.detection.load_detector` does.

        Raises:
            WeightsError: There is no such model, tagger or detector, or its base encoder is not
                installed.
            InputError: The schema is broken, or asks a classifier for relations it never saw; or
                there is no such kind of tagger or detector.
            MissingDependency: The tagger needs a package that is not installed.
        """
        if isinstance(schema, str | Path):
            schema = RelationSchema.load(schema)
        if isinstance(tagger, str | Path):
            tagger = load_tagger(tagger)
        if isinstance(detector, str):
            detector = load_detector(detector)
        return cls(
            RelationModel.from_pretrained(source),
            tagger=tagger,
            schema=schema,
            threshold=threshold,
            constraints=constraints,
            direction=direction,
            detector=detector,
            max_objects=max_objects,
            feature_folder=feature_folder,
        )

    @property
    def tagger(self) -> Tagger | None:
        """The one that was given, else the model's own, loaded when it is first needed."""
        if self._tagger is None and self.model.config.tagger is not None:
            self._tagger = load_tagger(self.model.config.tagger)
        return self._tagger

    def found(self, posts: Sequence[Post]) -> list[Post]:
        """The posts with entities by the tagger where a post gives no entities and names no pairs.

        Of more than :data:`rukh.candidates.MAX_DETECTED_ENTITIES` the first are kept, or fewer where a post has
        so many objects that more pairs could not be asked; :attr:`cut` counts the others. A post
        that names its pairs, be it none, stays as it is, and so do all where there is no tagger.
        """
        raw = [
            i
            for i, post in enumerate(posts)
            if post.pairs is None and not post.entities and post.text.strip()
        ]
        out = list(posts)
        if not raw or (tagger := self.tagger) is None:
            return out
        for i, found in zip(raw, tagger.detect_entities([posts[i].text for i in raw]), strict=True):
            post = posts[i]
            kept = found[
                : max(
                    0, min(MAX_DETECTED_ENTITIES, MAX_ARGUMENTS_FOR_ALL_PAIRS - len(post.objects))
                )
            ]
            if len(kept) < len(found):
                self.cut[post.id] = len(found) - len(kept)
            # An object may bear the name that a found entity would have had.
            taken = {thing.id for thing in post.objects}
            free = (name for name in map("e{}".format, count()) if name not in taken)
            entities = tuple(entity.model_copy(update={"id": next(free)}) for entity in kept)
            out[i] = post.model_copy(update={"entities": entities})
        return out

    def typed(self, posts: Sequence[Post]) -> list[Post]:
        """The posts with a type for every text entity, given or by the tagger, in rukh's words or
        those of the schema.
        """
        known = self.schema.argument_types | self.model.schema.argument_types
        posts = [normalize_types(post, known) for post in posts]
        self.given_types.update(
            entity.type
            for post in posts
            for entity in post.entities
            if entity.type is not None and entity.type_confidence is None
        )
        untyped = any(e.type is None for post in posts for e in post.entities)
        return self.tagger.assign_types(posts) if untyped and self.tagger else posts

    def answer(
        self, posts: Sequence[Post], pairs: Sequence[Sequence[tuple[str, str]]]
    ) -> list[Answers]:
        """Ask pairs of typed posts; each post is encoded once for all its pairs."""
        out = []
        for post, asks, s in zip(posts, pairs, self.scores(posts, pairs), strict=True):
            # Whoever lets the pairs be found knows no direction.
            direction = self.direction if post.pairs is not None else "either"
            told = self.model.probabilities(s.logits, self.bank, direction)
            out.append(Answers(list(asks), told, s.match, s.gate))
        return out

    def scores(
        self, posts: Sequence[Post], pairs: Sequence[Sequence[tuple[str, str]]]
    ) -> list[PostScores]:
        """As :meth:`answer`, before logits become probabilities; types count already."""
        scored = score_posts(self.model, self.bank, posts, pairs, self.pictures(posts))
        logits = self._constrained([s.logits for s in scored], posts, pairs)
        return [s._replace(logits=told) for s, told in zip(scored, logits, strict=True)]

    def pictures(self, posts: Sequence[Post]) -> list[PatchMap | None]:
        """What the model's vision encoder makes of each post's picture, None where there is none;
        the encoder is loaded when the first one comes.
        """
        seen = any(post.image is not None for post in posts)
        if seen and self.features is None and self.model.vision is not None:
            self.features = FeatureCache(self._feature_folder, self.model.vision)
        return image_features(posts, self.features)

    def _constrained(
        self,
        logits: list[Tensor],
        posts: Sequence[Post],
        pairs: Sequence[Sequence[tuple[str, str]]],
    ) -> list[Tensor]:
        config, hard = self.model.config, self.constraints == "hard"
        if self.constraints == "off" or not (config.type_penalty or hard):
            return logits
        costs = violations(
            posts,
            pairs,
            self.bank,
            self.schema,
            config.direction_mode,
            penalty=config.type_penalty,
            hard=hard,
        )
        return [told - cost for told, cost in zip(logits, costs, strict=True)]

    def extract(self, posts: Iterable[Post], *, top_k: int = 0) -> list[Triple]:
        """All triples of all posts, in the order of posts and pairs; see :meth:`stream`."""
        return [triple for triples in self.stream(posts, top_k=top_k) for triple in triples]

    def stream(self, posts: Iterable[Post], *, top_k: int = 0) -> Iterator[list[Triple]]:
        """The triples of each post, in order.

        Where a post names its pairs, each is answered as it was asked, also by NOTA. Where it
        names none, every pair that the types allow is asked in both orders, and what is told are
        the relations that reach the threshold, of each two arguments the better order. Where it
        gives no entities either, those of :meth:`found` are asked, and the triples say what they
        are.

        Args:
            posts: May be endless; they are read in chunks.
            top_k: How many relations of each pair's ranking to add; 0 adds none.
        """
        rest = iter(posts)
        while chunk := list(islice(rest, CHUNK)):
            shown = chunk
            if self.detector is not None:
                shown = with_objects(chunk, self.detector, self.schema, self.max_objects)
            typed = self.typed(self.found(shown))
            self.silent += sum(not post.arguments for post in typed)
            allowing = None if self.constraints == "off" else self.schema
            told = self._told(
                chunk, typed, [candidate_pairs(post, allowing) for post in typed], top_k
            )
            for post, triples in zip(typed, told, strict=True):
                yield (
                    triples
                    if post.pairs is not None
                    else best_direction_only(triples, self.schema.nota)
                )

    def _told(
        self,
        given: Sequence[Post],
        posts: Sequence[Post],
        pairs: Sequence[Sequence[tuple[str, str]]],
        top_k: int,
    ) -> list[list[Triple]]:
        """The triples of all pairs. A post whose pairs have too many scores is encoded for some of
        its pairs at a time.
        """
        out: list[list[Triple]] = [[] for _ in posts]
        most = max(1, CELLS // num_columns(self.bank, self.model.config.direction_mode))
        for part in split_by_count([len(asks) for asks in pairs], most):
            some = [posts[i] for i, _ in part]
            answered = self.answer(some, [pairs[i][which] for i, which in part])
            for (i, _), post, answers in zip(part, some, answered, strict=True):
                out[i] += triples_of(
                    given[i], post, answers, self.bank, self.schema.nota, self.threshold, top_k
                )
        return out
