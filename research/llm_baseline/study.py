"""Triples by a language model, and their figures beside those of rukh's models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from rukh.evaluation.end_to_end import (
    Fact,
    Span,
    evaluate_end_to_end,
    gold_facts,
    make_fact,
    triple_figures,
)
from rukh.extractor import Extractor
from rukh.llm.endpoint import Endpoint, InvalidAnswer
from rukh.llm.label import Answer, Entities, answer_form, conversation, given_entities
from rukh.records import Post
from rukh.schema.schema import RelationSchema
from rukh.utils.markdown import escape, markdown_table, percent
from rukh.utils.progress import progress_bar

Setting: TypeAlias = Literal["raw", "given"]
"""Whether the text alone is known, or also its entities."""
NOWHERE: Span = (-1, -1)
"""The span of words that are not found. It neither equals nor overlaps any other span."""


def to_facts(
    answer: Answer, text: str, schema: RelationSchema, entities: Entities | None
) -> list[Fact]:
    """Convert an answer to facts, each once, as :func:`rukh.evaluation.end_to_end.gold_facts` does.

    Words stand for their first occurrence in the text, or for the given entity. A fact with unknown
    words or an unknown relation remains: it is a wrong prediction.
    """

    def locate(words: str) -> Span:
        if entities is not None:
            return (entities[words].start, entities[words].end) if words in entities else NOWHERE
        start = text.find(words) if words.strip() else -1
        return NOWHERE if start < 0 else (start, start + len(words))

    facts: list[Fact] = []
    for head, relation, tail in dict.fromkeys((s.head, s.relation, s.tail) for s in answer.triples):
        spans = locate(head), locate(tail)
        fact = Fact(spans[0], relation, spans[1])
        if relation in schema.names:
            fact = make_fact(*fact[:3], schema)
        if fact not in facts or NOWHERE in spans:
            facts.append(fact)
    return facts


def measure_language_model(
    endpoint: Endpoint, posts: Sequence[Post], schema: RelationSchema, setting: Setting
) -> dict[str, Any]:
    """Ask for the triples of each post, and compute their figures.

    A post without a usable answer, or with fewer than two given entities, has no triples.

    Returns:
        The figures of :func:`_row`; ``timed_posts``, the number of answers that were not cached,
        without which ``seconds_per_post`` is None; ``unanswered``, the ids of posts without a
        usable answer; ``not_found``, the number of triples with unknown words; and the endpoint's
        ``totals``.

    Raises: See :meth:`rukh.llm.endpoint.Endpoint.ask`, except for ``InvalidAnswer``.
    """
    facts: list[list[Fact]] = []
    seconds: list[float] = []
    unanswered: list[str] = []
    for post in progress_bar(posts, unit="post"):
        entities = given_entities(post) if setting == "given" else None
        answer = Answer(triples=[])
        if entities is None or len(entities) > 1:
            messages = conversation(post.text, schema, entities)
            form = answer_form(schema, entities)
            start, cached = time.perf_counter(), endpoint.totals["cached"]
            try:
                answer = endpoint.ask(messages, form, lambda _: [])
            except InvalidAnswer:
                unanswered.append(post.id)
            if endpoint.totals["cached"] == cached:
                seconds.append(time.perf_counter() - start)
        facts.append(to_facts(answer, post.text, schema, entities))
    figures = triple_figures([gold_facts(post, schema) for post in posts], facts, 0.0)
    mean = sum(seconds) / len(seconds) if seconds else None
    return _row(endpoint.config.model, figures, mean) | {
        "timed_posts": len(seconds),
        "unanswered": unanswered,
        "not_found": sum(NOWHERE in fact for some in facts for fact in some),
        "totals": dict(endpoint.totals),
    }


def measure_model(
    name: str, extractor: Extractor, posts: Sequence[Post], setting: Setting
) -> dict[str, Any]:
    """Compute the figures of a model of rukh; see :func:`_row`."""
    figures, _ = evaluate_end_to_end(extractor, posts)
    hidden: dict[str, Any] = {"pairs": None} | ({"entities": ()} if setting == "raw" else {})
    bare = [post.model_copy(update=hidden) for post in posts]
    # The evaluation, which does more than extract, has loaded whatever is loaded on first use.
    start = time.perf_counter()
    extractor.extract(bare)
    return _row(name, figures[setting], (time.perf_counter() - start) / len(posts))


def _row(system: str, figures: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    """Keep what all systems have of :func:`rukh.evaluation.end_to_end.triple_figures`."""
    keys = ("strict", "relaxed", "silent_answered", "per_relation")
    kept = {key: figures[key] for key in keys}
    return {"system": system, **kept, "seconds_per_post": seconds}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the figures in Markdown, in per cent."""

    def cells(row: Mapping[str, Any]) -> list[str]:
        strict, silent, seconds = row["strict"], row["silent_answered"], row["seconds_per_post"]
        low, high = map(percent, strict["f1_ci"])
        return [
            escape(row["system"]),
            f"{percent(strict['f1'])} [{low}, {high}]",
            *(percent(strict[key]) for key in ("precision", "recall")),
            percent(row["relaxed"]["f1"]),
            "" if silent is None else percent(silent),
            "" if seconds is None else f"{seconds:.3g}",
        ]

    header = ("system", "F1", "precision", "recall", "relaxed F1", "silent posts answered",
              "seconds a post")  # fmt: skip
    return markdown_table(header, map(cells, rows)) + "\n"
