"""The verifier, which reads a text together with statements about its arguments.

Retrieval compares a pair with a description without reading them together, so that it takes what
stands beside a relation for the relation. The verifier reads the candidates that retrieval leaves:
each becomes a statement, the description with the arguments in place of "the head" and "the tail",
and a cross-encoder predicts whether the text states it.

All statements of a post share one sequence. A statement attends to the text and to itself, and the
text to itself only: a statement's score does not depend on the others, and the text is read once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rukh.errors import WeightsError
from rukh.hub import model_folder
from rukh.modeling.adapters import load_trained_state, read_state, trained_state
from rukh.modeling.directions import one_way
from rukh.modeling.markers import END, START, MarkedSequence, build_sequences, tokenize_post
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import PairScores
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.type_constraints import EXCLUDED
from rukh.records import Post, Record, as_input_error
from rukh.utils.batching import batches_by_length
from rukh.utils.files import atomic_folder, read_json, write_json

MAX_MARKED = 64
"""Number of arguments of a post that have a marker of their own."""
MAX_TEXT = 256
"""Maximum number of tokens of a text, including markers; a longer one is read in parts."""
MAX_STATEMENT = 64
"""Maximum number of tokens of a statement."""
MAX_SURFACE = 4
"""Maximum number of tokens of an argument's surface in a statement."""
MAX_STATEMENTS = 16
"""Maximum number of statements in a sequence."""
MAX_POSITIONS = 6144
"""Maximum number of positions in a batch, including padding."""
_ROLE = re.compile(r"\b(the head|the tail)(?:'s)?(?!\w)", re.IGNORECASE)


class Statement(NamedTuple):
    """A description of a relation, applied to two arguments of a post, given by their ids."""

    head: str
    tail: str
    description: str


class VerifierInput(NamedTuple):
    """Token ids of a text with markers, and of each of its statements."""

    text: list[int]
    statements: list[list[int]]

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.text) + sum(map(len, self.statements))


class VerifierConfig(Record):
    """The contents of a verifier's ``config.json``.

    Attributes:
        text_encoder: Name or path of the pretrained text encoder.
        scale, retrieval_scale, bias: The logit of a candidate is ``scale`` times the verifier's
            output, plus ``retrieval_scale`` times the difference between the retrieval logits of
            the relation and of NOTA, plus ``bias``; fitted on the dev set.
        threshold: Minimum probability of a verified triple, chosen on the dev set.
        metrics: Metrics on the dev set.
    """

    task: Literal["verifier"] = "verifier"
    text_encoder: str = "all-MiniLM-L6-v2"
    scale: float = Field(default=1.0, ge=0)
    retrieval_scale: float = Field(default=0.0, ge=0)
    bias: float = 0.0
    threshold: float = Field(default=0.5, ge=0, le=1)
    metrics: dict[str, Any] = {}


class Verifier(nn.Module):
    """A cross-encoder that predicts whether texts state relations of their arguments.

    Args:
        config: Options.
        text_encoder: The text encoder. None: that of ``config`` is loaded.

    Example:
        >>> verifier = Verifier(VerifierConfig()).eval()
        >>> post = Post(id="1", text="Ann Lee of Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 7}, {"id": "r", "start": 11, "end": 15}])
        >>> statement = Statement("a", "r", "The head lives in the tail.")
        >>> [len(logits) for logits in verifier.verify([post], [[statement, statement]])]
        [2]
    """

    def __init__(self, config: VerifierConfig, text_encoder: TextEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.text_encoder = text_encoder or TextEncoder.load(config.text_encoder)
        dim = self.text_encoder.dim
        words = self.text_encoder.model.get_input_embeddings().weight
        # Ids from here on: the start of a statement, the end of an argument, and, for each
        # argument, its start in the text and its place in statements.
        self.first_marker = len(words)
        self.markers = nn.Embedding(2 + MAX_MARKED, dim)
        with torch.no_grad():
            noise = torch.randn(self.markers.weight.shape) * words.std()
            self.markers.weight.copy_(words.mean(0) + noise)
        self.head = nn.Sequential(nn.Linear(3 * dim, dim), nn.GELU(), nn.Linear(dim, 1))

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Verifier:
        """Load a verifier by its shipped name or from its folder.

        Raises:
            WeightsError: It is not found or damaged, or its text encoder is missing.
            InputError: Its configuration is invalid.
        """
        folder = model_folder(source)
        data = read_json(folder / "config.json")
        if not isinstance(data, dict) or data.get("task") != "verifier":
            raise WeightsError(f"{folder} does not contain a verifier")
        try:
            config = VerifierConfig.model_validate(data)
        except ValidationError as error:
            raise as_input_error(error, str(folder / "config.json")) from None
        verifier = cls(config)
        state = read_state(folder / "model.safetensors")
        if missing := {"markers.weight", "head.0.weight", "head.2.weight"} - state.keys():
            raise WeightsError(f"{folder} is damaged: the weights of {min(missing)!r} are missing")
        load_trained_state(verifier, state)
        return verifier.eval()

    def tokenize(
        self, post: Post, statements: Sequence[Statement], numbers: Sequence[int] | None = None
    ) -> list[tuple[VerifierInput, list[int]]]:
        """Build the sequences that contain all statements about a post.

        Args:
            numbers: Numbers of the arguments' markers, in the order of the arguments; in training,
                a random selection. None: 0, 1, 2, ...

        Returns:
            Each sequence, with the indices of its statements.
        """
        names = [entity.id for entity in post.entities]
        order = range(len(names)) if numbers is None else numbers
        number = {name: k % MAX_MARKED for name, k in zip(names, order, strict=True)}
        wanted = dict.fromkeys((one.head, one.tail) for one in statements)
        # All entities are marked, so that a score does not depend on which others have statements:
        # pairs of neighbours put every entity into some pair.
        pairs = list(wanted | dict.fromkeys(pairwise(names))) if wanted else []
        tokenized = tokenize_post(post, self.text_encoder, caption_words=0)
        inputs = []
        for sequence in build_sequences(tokenized, pairs, "post", self.text_encoder, MAX_TEXT):
            contained = [pairs[pair.pair] for pair in sequence.pairs]
            text = self._text(sequence, contained, number)
            chosen = [i for i, one in enumerate(statements) if (one.head, one.tail) in contained]
            for first in range(0, len(chosen), MAX_STATEMENTS):
                part = chosen[first : first + MAX_STATEMENTS]
                rows = [self._statement(post, statements[i], number) for i in part]
                inputs.append((VerifierInput(text, rows), part))
        return inputs

    def _text(
        self,
        sequence: MarkedSequence,
        pairs: Sequence[tuple[str, str]],
        number: Mapping[str, int],
    ) -> list[int]:
        """Return the token ids of a text, in which markers have the numbers of their arguments."""
        starts = {
            position[0]: number[name]
            for positions, names in zip(sequence.pairs, pairs, strict=True)
            for position, name in zip((positions.head, positions.tail), names, strict=True)
        }
        ids = list(sequence.ids)
        for position, role in enumerate(sequence.roles):
            if role == START:
                ids[position] = self._start(starts[position])
            elif role == END:
                ids[position] = self.first_marker + 1
        return ids

    def _start(self, number: int) -> int:
        return self.first_marker + 2 + number

    def _statement(self, post: Post, statement: Statement, number: Mapping[str, int]) -> list[int]:
        """Return the token ids of a statement, which starts with the markers of head and tail.

        In the description, "the head" and "the tail" are replaced by the marker of the argument,
        at the first place followed by its surface.
        """
        names = {"the head": statement.head, "the tail": statement.tail}
        ids = [self.first_marker, *(self._start(number[name]) for name in names.values())]
        shown: set[str] = set()
        for part in _ROLE.split(statement.description):
            if (name := names.get(part.lower())) is None:
                ids += self.text_encoder.tokenize(part).ids
                continue
            ids.append(self._start(number[name]))
            if name not in shown:
                shown.add(name)
                ids += self.text_encoder.tokenize(post.surface(name)).ids[:MAX_SURFACE]
        return [*ids[: MAX_STATEMENT - 1], self.text_encoder.end_id]

    def forward(self, inputs: Sequence[VerifierInput]) -> Tensor:
        """Compute the logits ``(S,)`` of all statements of a batch of sequences, in order."""
        ids, groups, positions, starts = [], [], [], []
        for row, one in enumerate(inputs):
            parts = [one.text, *one.statements]
            sizes = torch.tensor([len(part) for part in parts])
            ids.append(torch.tensor([token for part in parts for token in part]))
            groups.append(torch.arange(len(parts)).repeat_interleave(sizes))
            first = sizes.cumsum(0) - sizes
            within = torch.arange(int(sizes.sum())) - first.repeat_interleave(sizes)
            # Every statement follows the text, as if it were the only one.
            positions.append(within + torch.where(groups[-1] > 0, len(one.text), 0))
            starts += [(row, int(start)) for start in first[1:]]
        group = pad_sequence(groups, batch_first=True, padding_value=-1)
        token = pad_sequence(ids, batch_first=True)
        position = pad_sequence(positions, batch_first=True)
        # A statement attends to the text and to itself, the text and padding only to themselves.
        mask = group[:, :, None] == group[:, None, :]
        mask |= (group[:, None, :] == 0) & (group[:, :, None] > 0)
        table = torch.cat(
            [self.text_encoder.model.get_input_embeddings().weight, self.markers.weight]
        )
        embedded = nn.functional.embedding(token, table)
        states = self.text_encoder(embedded, mask, (group > 0).long(), position)
        rows, firsts = torch.tensor(starts).unbind(1)
        read = torch.cat([states[rows, firsts + k] for k in range(3)], -1)
        logits: Tensor = self.head(read)[:, 0]
        return logits

    def combine(self, logit: float, margin: float) -> float:
        """Return the calibrated logit of a candidate; see ``scale`` of :class:`VerifierConfig`."""
        config = self.config
        return config.scale * logit + config.retrieval_scale * margin + config.bias

    @torch.inference_mode()
    def verify(
        self, posts: Sequence[Post], statements: Sequence[Sequence[Statement]]
    ) -> list[Tensor]:
        """Compute the logits of the statements about each post, of which each is independent.

        Only statements about text entities can be verified.
        """
        logits = [torch.zeros(len(some)) for some in statements]
        flat = [
            (i, *one)
            for i, (post, some) in enumerate(zip(posts, statements, strict=True))
            for one in self.tokenize(post, some)
        ]
        lengths = [one.length for _, one, _ in flat]
        for batch in batches_by_length(lengths, len(flat) or 1, MAX_POSITIONS):
            chosen = [flat[index] for index in batch]
            values = self([one for _, one, _ in chosen])
            sizes = [len(part) for _, _, part in chosen]
            for (i, _, part), some in zip(chosen, values.split(sizes), strict=True):
                logits[i][part] = some
        return logits


def save_verifier(verifier: Verifier, folder: Path, card: str) -> None:
    """Write a verifier and its card to a folder, which appears only when it is complete."""
    state = {k: v.half().contiguous() for k, v in trained_state(verifier).items()}
    with atomic_folder(folder) as part:
        (part / "model.safetensors").write_bytes(save(state))
        write_json(verifier.config.model_dump(mode="json"), part / "config.json")
        (part / "README.md").write_text(card, encoding="utf-8")


class Candidate(NamedTuple):
    """A relation that retrieval leaves for a pair.

    Attributes:
        column: Column of the logits, which stands for the relation in one of the two directions.
        head, relation, tail: The relation, and the arguments that it holds between.
        description: The description that is nearest to the pair.
        margin: Difference between its logit and that of NOTA.
    """

    column: int
    head: str
    relation: str
    tail: str
    description: str
    margin: float


def select_candidates(
    pairs: Sequence[tuple[str, str]],
    scores: PairScores[float | None],
    bank: RelationBank,
    count: int,
) -> list[list[Candidate]]:
    """Select the ``count`` most probable relations of each pair, in either direction.

    Args:
        pairs: ``Q`` pairs of argument ids, head first.
        scores: Their retrieval scores, with calibrated logits.
        bank: Relations of the columns.
    """
    forward = len(bank.names)
    backward = one_way(bank).tolist() if scores.logits.shape[1] > 1 + forward else []
    relations = [*range(forward), *backward]
    margins = scores.logits[:, 1:] - scores.logits[:, :1]
    top = margins.topk(min(count, margins.shape[1]))
    chosen = []
    for (head, tail), row, values, best in zip(
        pairs,
        top.indices.tolist(),
        top.values.tolist(),
        scores.best_description.tolist(),
        strict=True,
    ):
        candidates = []
        for column, margin in zip(row, values, strict=True):
            if margin > -EXCLUDED / 2:
                relation = relations[column]
                ends = (head, tail) if column < forward else (tail, head)
                # Both orders of a pair read the same statement of what they both state.
                reverse = int(bank.reverse[relation])
                if 0 <= reverse < relation or (reverse == relation and ends[0] > ends[1]):
                    relation, ends = reverse, (ends[1], ends[0])
                text = bank.description(relation, best[relation])
                candidates.append(
                    Candidate(1 + column, ends[0], bank.names[relation], ends[1], text, margin)
                )
        chosen.append(candidates)
    return chosen


def verify_scores(
    verifier: Verifier,
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    scores: Sequence[PairScores[float | None]],
    bank: RelationBank,
    count: int,
) -> list[PairScores[float | None]]:
    """Replace the logits of each pair's candidates by verified ones, and exclude other relations.

    Pairs with a visual object, which the verifier cannot read, keep their logits. The two orders of
    a pair share their statements.

    Args:
        posts, pairs: The posts, and the ordered pairs of each, as argument ids.
        scores: The retrieval scores of the pairs, with calibrated logits.
        count: Number of candidates of each pair.
    """
    all_candidates = [
        select_candidates(some, one, bank, count) for some, one in zip(pairs, scores, strict=True)
    ]
    statements: list[list[Statement]] = []
    for post, some in zip(posts, all_candidates, strict=True):
        texts = {entity.id for entity in post.entities}
        wanted = (
            Statement(c.head, c.tail, c.description)
            for row in some
            for c in row
            if c.head in texts and c.tail in texts
        )
        statements.append(list(dict.fromkeys(wanted)))
    outputs = verifier.verify(posts, statements)
    verified = []
    for some, stated, output, one in zip(all_candidates, statements, outputs, scores, strict=True):
        value = dict(zip(stated, output.tolist(), strict=True))
        logits = one.logits.clone()
        for row, candidates in zip(logits, some, strict=True):
            known = [
                (c, value[key])
                for c in candidates
                if (key := Statement(c.head, c.tail, c.description)) in value
            ]
            if known:
                row[0], row[1:] = 0.0, -EXCLUDED
                for candidate, logit in known:
                    row[candidate.column] = verifier.combine(logit, candidate.margin)
        verified.append(one._replace(logits=logits))
    return verified
