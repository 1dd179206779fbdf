"""The extractor, which predicts triples for posts. All other interfaces of rukh use it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rukh.arguments.candidates import PostPart, add_entities, candidate_parts, text_windows
from rukh.arguments.detection import MAX_OBJECTS, Detector, detect_objects, load_detector
from rukh.arguments.label_map import count_given_types, normalize_types, type_words
from rukh.arguments.tagger import OpenTagger, Tagger, load_tagger
from rukh.arguments.type_mapping import accept_detected_types
from rukh.data.items import PostLike, to_posts
from rukh.errors import MAX_LISTED
from rukh.modeling.device import choose_device, move
from rukh.modeling.directions import best_direction_only, num_columns
from rukh.modeling.image_features import FeatureCache, features_of
from rukh.modeling.inference import score_posts
from rukh.modeling.markers import caption_ids
from rukh.modeling.model import RelationModel
from rukh.modeling.scorers import PairScores, warn_undescribed
from rukh.modeling.type_constraints import TypeConstraints, check_decision, type_penalties
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Mention, Post, RankedRelation, Triple, to_mention
from rukh.schema.schema import RelationSchema
from rukh.utils.batching import split_by_count
from rukh.utils.cache import content_key
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)

CHUNK_SIZE = 256
"""Number of posts that are processed together. A resumed run starts at a multiple of it."""
MAX_SCORES = 1 << 23
"""Maximum number of pair-relation scores computed at once, which takes about 300 MB of memory."""
_LOADING = threading.RLock()
"""Held while a part of a model is loaded, so that several threads do not load it at once."""


@dataclass(frozen=True)
class PostQuery:
    """A post with typed arguments, and the ordered pairs to predict.

    Attributes:
        post: The post.
        parts: The post itself, or its windows if the text is long, each with the pairs to predict.
        pairs_given: Whether the post lists these pairs. Otherwise, they are all pairs that the
            types allow, in both orders.
    """

    post: Post
    parts: list[PostPart]
    pairs_given: bool


class PostTriples(NamedTuple):
    """A post with its given and detected arguments, and its triples."""

    post: Post
    triples: list[Triple]


class Extractor:
    """Predict relations between the arguments of posts, and detect arguments that are not given.

    Args:
        model: The relation model.
        tagger: Tagger that assigns missing entity types, and detects entities in posts without
            any. None: the tagger that the model's configuration names.
        schema: Schema of the relations to predict. None: the model's default.
        threshold: Minimum probability of a predicted relation. None: the threshold of the model.
        type_constraints: How to treat relations that disallow an argument's type. ``soft``:
            subtract the learned penalty from the logit; ``hard``: exclude the relation if the type
            was given; ``off``: ignore types.
        directed: Whether the pairs that posts list are ordered from head to tail. If so, relations
            in the reverse direction are excluded. If not, their probability is added to NOTA's.
        across_windows: Whether to predict, in texts that are too long to be read at once, also the
            pairs of arguments that are far from each other. The pairs that a post lists are always
            predicted.
        detector: Detector for the images of posts without objects. None: no detection.
        max_objects: Maximum number of objects per image; the most confident ones are kept.
        feature_folder: Folder that caches image features. None: they are cached in memory.

    Raises:
        InputError: ``threshold`` or ``type_constraints`` is not valid.

    Attributes:
        features: The cache of image features. Its attributes ``missing`` and ``broken`` contain
            the images that could not be read. None until a post has an image.

    Example:
        >>> extractor = Extractor.from_pretrained("mnre")
        >>> (triple,) = extractor.extract(["Ann Lee was born in Rome"])
        >>> triple.head.text, triple.tail.text
        ('Ann Lee', 'Rome')
        >>> post = Post(id="1", text="Ann Lee was born in Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 7}, {"id": "r", "start": 20, "end": 24}],
        ...     pairs=[{"head": "a", "tail": "r"}])
        >>> [(triple.head.id, triple.tail.id) for triple in extractor.extract([post])]
        [('a', 'r')]
    """

    def __init__(
        self,
        model: RelationModel,
        *,
        tagger: Tagger | None = None,
        schema: RelationSchema | None = None,
        threshold: float | None = None,
        type_constraints: TypeConstraints = "soft",
        directed: bool = False,
        across_windows: bool = False,
        detector: Detector | None = None,
        max_objects: int = MAX_OBJECTS,
        feature_folder: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.schema = schema or model.default_schema
        self._schema_id = f"{self.schema.name}@{content_key(self.schema.model_dump_json())[:12]}"
        if self.schema is not model.schema:  # that is what training has warned of
            warn_undescribed(self.schema, model.config.relation)
        if isinstance(tagger, OpenTagger):
            tagger = tagger.with_types(type_words(self.schema))
        else:
            self.schema = accept_detected_types(self.schema, model.config.pair.text_encoder)
        self.bank = model.bank(self.schema)
        model.scorer.check_bank(self.bank)
        self.threshold = model.threshold(self.bank) if threshold is None else threshold
        check_decision(self.threshold, type_constraints)
        self.type_constraints = type_constraints
        self.directed, self.across_windows = directed, across_windows
        self.detector, self.max_objects = detector, max_objects
        self.features: FeatureCache | None = None
        self._tagger = tagger
        self._feature_folder = feature_folder

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "open",
        *,
        tagger: str | Path | Tagger | None = None,
        schema: str | Path | RelationSchema | None = None,
        detector: str | Detector | None = None,
        device: str | torch.device = "auto",
        revision: str | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Extractor:
        """Load a shipped model by name, or a model from a folder or from the Hugging Face hub.

        Args:
            source: The model's name or folder, or its name on the hub, ``owner/name``.
            tagger: A tagger, or its name for :func:`rukh.arguments.tagger.load_tagger`.
            schema: A schema, or its name or file.
            detector: A detector, or its name for :func:`rukh.arguments.detection.load_detector`.
            device: Name of the device of the model, and of a tagger and a detector that are given
                by name, as in :func:`rukh.modeling.device.choose_device`.
            revision, local_files_only: See :func:`rukh.hub.model_folder`.
            options: The other arguments of :class:`Extractor`.

        Raises:
            WeightsError: The model, its base encoder, the tagger or the detector is not found.
            InputError: The schema is invalid, or has relations that a classification model was
                not trained on; or the kind of tagger or detector, or the device, is unknown.
            MissingDependency: The tagger needs a package that is not installed.
        """
        device = choose_device(device)
        if isinstance(schema, str | Path):
            schema = RelationSchema.load(schema)
        if isinstance(tagger, str | Path):
            tagger = load_tagger(tagger, device=device)
        if isinstance(detector, str):
            detector = load_detector(detector, device=device)
        model = RelationModel.from_pretrained(
            source, device=device, revision=revision, local_files_only=local_files_only
        )
        return cls(model, tagger=tagger, schema=schema, detector=detector, **options)

    @property
    def tagger(self) -> Tagger | None:
        """The given tagger, or else the model's own, which is loaded on first use."""
        with _LOADING:
            if self._tagger is None and self.model.config.tagger is not None:
                tagger = load_tagger(self.model.config.tagger, device="cpu")
                self._tagger = move(tagger, self.model.device)
            return self._tagger

    @property
    def known_types(self) -> frozenset[str]:
        """The argument types of the schema or, if it has none, of the model's own schema."""
        return self.schema.argument_types or self.model.schema.argument_types

    def extract(
        self, posts: Iterable[PostLike], *, top_k: int = 0, progress: bool = False
    ) -> list[Triple]:
        """Return the triples of all posts, ordered by post and pair; see :meth:`stream`.

        All posts of a list are checked before the first is processed.

        Args:
            posts: The posts, as in :meth:`stream`.
            top_k: Number of relations in the ranking of each triple. 0: no ranking.
            progress: Whether to show a progress bar on standard error. It moves on after each
                :data:`CHUNK_SIZE` posts.
        """
        if isinstance(posts, Sequence):
            posts = list(to_posts(posts))
        results = self.stream(posts, top_k=top_k)
        if progress:  # also without a terminal, as in a notebook
            total = len(posts) if isinstance(posts, Sized) else None
            results = progress_bar(results, total=total, unit="post", disable=False)
        return [triple for triples in results for triple in triples]

    def stream(self, posts: Iterable[PostLike], *, top_k: int = 0) -> Iterator[list[Triple]]:
        """Yield the triples of each post, in order.

        A post that lists its pairs gets one triple per pair, even if no relation holds (NOTA). In a
        post without a list (``pairs`` is None), missing entities and objects are detected, and all
        pairs that the types allow are scored in both orders. Its triples are the relations that
        reach the threshold. Only the more probable order of each pair is kept. A text that is too
        long to be read at once is read in overlapping windows, and only pairs within a window are
        scored, unless ``across_windows`` is set.

        Warnings that concern all posts are logged at the end.

        Args:
            posts: Posts, dictionaries with the fields of a post, or texts, also mixed; possibly an
                infinite iterable. They are read in chunks, and converted by
                :func:`rukh.data.items.to_posts`.
            top_k: Number of relations in the ranking of each triple. 0: no ranking.

        Raises:
            InputError: ``posts`` is a single post, dictionary or text, not an iterable of them; or
                one of them is invalid, and the error names its position and field.
        """
        return (result.triples for result in self.stream_posts(posts, top_k=top_k))

    def stream_posts(self, posts: Iterable[PostLike], *, top_k: int = 0) -> Iterator[PostTriples]:
        """Yield each post with its given and detected arguments, and its triples.

        See :meth:`stream` for the arguments and errors. :meth:`detect_entities` detects arguments
        without predicting relations.

        Example:
            >>> extractor = Extractor.from_pretrained("open")
            >>> (result,) = extractor.stream_posts(["Ann Lee moved to Rome"])
            >>> [(result.post.surface(e.id), e.type) for e in result.post.entities]
            [('Ann Lee', 'PER'), ('Rome', 'LOC')]
        """
        remaining = to_posts(posts)
        without_arguments = unseen_objects = 0
        given_types: Counter[str] = Counter()
        while chunk := list(islice(remaining, CHUNK_SIZE)):
            queries = self.prepare(chunk)
            without_arguments += sum(not query.post.arguments for query in queries)
            if self.model.config.pair.vision_encoder is None:
                unseen_objects += sum(bool(query.post.objects) for query in queries)
            given_types += count_given_types(query.post for query in queries)
            for query, triples in zip(queries, self.predict(queries, top_k=top_k), strict=True):
                if not query.pairs_given:
                    triples = best_direction_only(triples, self.schema.nota)
                yield PostTriples(query.post, triples)
        if without_arguments:
            message = "posts without triples, as they have no given or detected arguments: %d"
            logger.warning(message, without_arguments)
        if unseen_objects:
            message = "the model reads no images; posts with objects, known by their types: %d"
            logger.warning(message, unseen_objects)
        self.warn_unknown_types(given_types)

    def prepare(self, posts: Sequence[Post]) -> list[PostQuery]:
        """Detect arguments in posts that list no pairs, assign types, and select the pairs.

        Raises:
            InputError: The arguments of a post form too many pairs, see :meth:`candidate_parts`.
        """
        detected = [post for post in posts if post.pairs is None]
        if self.detector is not None:
            detected = detect_objects(detected, self.detector, self.schema, self.max_objects)
        remaining = iter(self.detect_entities(detected))
        completed = [next(remaining) if post.pairs is None else post for post in posts]
        return [
            PostQuery(post, self.candidate_parts(post), pairs_given=post.pairs is not None)
            for post in self.assign_types(completed)
        ]

    def candidate_parts(self, post: Post) -> list[PostPart]:
        """Return a post that lists its pairs, or else its windows, each with its candidate pairs.

        Raises:
            InputError: The arguments of the post, or of a window, form more than 65,536 pairs.
        """
        if post.pairs is not None:
            return [PostPart(post, [(pair.head, pair.tail) for pair in post.pairs])]
        schema = None if self.type_constraints == "off" else self.schema
        if self.across_windows:
            return candidate_parts(post, [(0, len(post.text))], schema)
        encoder = self.model.pair_encoder
        caption = caption_ids(post, encoder.text_encoder, self.model.config.pair.caption_words)
        # As in a sequence of rukh.modeling.markers: objects have markers, too, and there are three
        # special tokens. Where little room is left, sequences are truncated.
        taken = len(caption) + 2 * len(post.objects) + 3
        room = max(encoder.max_length - taken, encoder.max_length // 4)
        tokens = encoder.text_encoder.tokenize(post.text)
        windows = text_windows(post.text, post.entities, tokens, room)
        return candidate_parts(post, windows, schema)

    def detect_entities(self, posts: Sequence[Post]) -> list[Post]:
        """Add detected entities, with their types, to the posts that have a text but no entities.

        If a post has objects, or all pairs of a long text are wanted (``across_windows``), only as
        many entities are kept as all their pairs can be predicted. Without a tagger, no post is
        changed.

        Example:
            >>> extractor = Extractor.from_pretrained("open")
            >>> (post,) = extractor.detect_entities([Post(id="1", text="Ann Lee moved to Rome")])
            >>> [(post.surface(e.id), e.type, e.start, e.end) for e in post.entities]
            [('Ann Lee', 'PER', 0, 7), ('Rome', 'LOC', 17, 21)]
        """
        if (tagger := self.tagger) is None:
            return list(posts)
        # Many times and numbers are no arguments, so that a schema has to ask for them.
        wanted = self.schema.argument_types or self.known_types - {"TIME", "NUM"}
        return add_entities(posts, tagger, wanted, in_windows=not self.across_windows)

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        """Normalize given entity types, and assign missing ones with the tagger."""
        if self.tagger and any(entity.type is None for post in posts for entity in post.entities):
            posts = self.tagger.assign_types(posts)
        return [normalize_types(post, self.known_types) for post in posts]

    def predict(self, queries: Sequence[PostQuery], *, top_k: int = 0) -> list[list[Triple]]:
        """Predict one triple per pair of each query, in order, including pairs without a relation.

        A post, or each window of a long one, is encoded once for all its pairs. If it has more than
        :data:`MAX_SCORES` scores, its pairs are split into groups, and it is encoded once per
        group.
        """
        triples: list[list[Triple]] = [[] for _ in queries]
        mentions = [
            {one.id: to_mention(one, query.post.text) for one in query.post.arguments}
            for query in queries
        ]
        parts = [(i, part) for i, query in enumerate(queries) for part in query.parts]
        columns = num_columns(self.bank, self.model.config.direction_mode)
        room = max(1, MAX_SCORES // columns)
        for group in split_by_count([len(part.pairs) for _, part in parts], room):
            chosen = [(*parts[k], parts[k][1].pairs[which]) for k, which in group]
            scores = self.scores([part.post for _, part, _ in chosen], [p for *_, p in chosen])
            for (i, _, pairs), pair_scores in zip(chosen, scores, strict=True):
                triples[i] += self._triples(queries[i], mentions[i], pairs, pair_scores, top_k)
        return triples

    def scores(
        self, posts: Sequence[Post], pairs: Sequence[Sequence[tuple[str, str]]]
    ) -> list[PairScores[float | None]]:
        """Score the pairs of typed posts, and apply the type constraints to the logits.

        Args:
            posts: The posts. Each is encoded once for all its pairs.
            pairs: The ordered pairs of each post, as argument ids.
        """
        scores = score_posts(self.model, self.bank, posts, pairs, self.visual_features(posts))
        if (costs := self.type_costs(posts, pairs)) is None:
            return scores
        return [s._replace(logits=s.logits - cost) for s, cost in zip(scores, costs, strict=True)]

    def type_costs(
        self, posts: Sequence[Post], pairs: Sequence[Sequence[tuple[str, str]]]
    ) -> list[torch.Tensor] | None:
        """Return what disallowed types cost each logit of :meth:`scores`. None: nothing."""
        config, hard = self.model.config, self.type_constraints == "hard"
        if self.type_constraints == "off" or not (config.type_penalty or hard):
            return None
        mode, penalty = config.direction_mode, config.type_penalty
        return type_penalties(
            posts, pairs, self.bank, self.schema, mode, penalty=penalty, hard=hard
        )

    def visual_features(self, posts: Sequence[Post]) -> list[PatchMap | None]:
        """Compute the patch states of each post's image, or None for a post without an image."""
        has_image = any(post.image is not None for post in posts)
        with _LOADING:
            if has_image and self.features is None and self.model.vision is not None:
                self.features = FeatureCache(self._feature_folder, self.model.vision)
        return features_of(posts, self.features)

    def warn_unknown_types(self, counts: Counter[str]) -> None:
        """Log a warning if most of the types counted by :func:`count_given_types` are unknown."""
        known = self.schema.argument_types
        unknown = [name for name, _ in counts.most_common() if name not in known]
        if self.type_constraints == "off" or not known or not unknown:
            return
        if 2 * sum(counts[name] for name in unknown) > counts.total():
            logger.warning(
                "most entity types in the posts are not in schema %r: %s (its types are %s), which "
                "counts against all relations that restrict their types; use the schema's types, "
                "omit types, or ignore them with type_constraints='off'",
                self.schema.name,
                ", ".join(map(repr, unknown[:MAX_LISTED])),
                ", ".join(map(repr, sorted(known))),
            )

    def _triples(
        self,
        query: PostQuery,
        mentions: Mapping[str, Mention],
        pairs: Sequence[tuple[str, str]],
        scores: PairScores[float | None],
        top_k: int,
    ) -> list[Triple]:
        """Build one triple for each of some pairs of a query, given its arguments by id."""
        directed = self.directed and query.pairs_given
        probabilities = self.model.probabilities(scores.logits, self.bank, directed)
        labels = (self.schema.nota, *self.bank.names)
        triples = []
        for (head, tail), row, matched in zip(
            pairs, probabilities, scores.best_description, strict=True
        ):
            order = torch.argsort(row, descending=True, stable=True)[:top_k].tolist()
            ranked = [
                RankedRelation(relation=labels[k], score=round(float(row[k]), 6)) for k in order
            ]
            best = int(row[1:].argmax())
            accepted = float(row[1 + best]) >= self.threshold
            triple = Triple(
                post_id=query.post.id,
                head=mentions[head],
                tail=mentions[tail],
                relation=labels[1 + best] if accepted else labels[0],
                score=round(float(row[1 + best] if accepted else row[0]), 6),
                description=self.bank.description(best, int(matched[best])) if accepted else None,
                gate=None if scores.gate is None else round(scores.gate, 6),
                ranking=tuple(ranked) if top_k else None,
                time=query.post.time,
                model_id=self.model.identity,
                schema_id=self._schema_id,
            )
            triples.append(triple)
        return triples
