"""Measure a large graph, and print a table: ``python -m benchmarks.graph [TRIPLES]``.

The triples are made up: some 10,000 names in a third as many posts as triples.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rukh.data.triples import read_triples
from rukh.graph.rdf import RdfIndex
from rukh.graph.store import KnowledgeGraph
from rukh.records import EntityMention, Triple
from rukh.utils.markdown import markdown_table

FIRST = [
    a + b
    for a in ["An", "Bo", "Cel", "Dor", "El", "Fin", "Gret", "Har", "In", "Jul", "Kar", "Lin"]
    for b in "aeiouy"
]
LAST = [
    a + b
    for a in ["Mar", "Hol", "Ber", "Cal", "Wes", "Quil", "Stro", "Tan"]
    for b in ["sh", "ton", "der", "ings"]
]
PEOPLE = [f"{first} {last}" for first in FIRST for last in LAST]
TAILS = {
    "works for": ("ORG", [f"{last} {kind}" for last in LAST for kind in ("Foods", "Labs", "Bank")]),
    "born in": ("LOC", [last + end for last in LAST for end in ("ford", "bridge", "ham")]),
    "married to": ("PER", PEOPLE),
}


def make_triples(count: int) -> Iterator[Triple]:
    """Yield made-up triples; the same for the same count."""
    rng = random.Random(13)

    def mention(text: str, type_: str) -> EntityMention:
        start = rng.randrange(100)
        return EntityMention(
            id=f"e{start}", text=text, start=start, end=start + len(text), type=type_
        )

    for number in range(count):
        relation = rng.choice(list(TAILS))
        type_, names = TAILS[relation]
        yield Triple(
            post_id=str(number // 3),
            head=mention(rng.choice(PEOPLE), "PER"),
            tail=mention(rng.choice(names), type_),
            relation=relation,
            score=round(rng.uniform(0.4, 1), 6),
            description="The head and the tail are in this relation.",
            model_id="open@000000000000",
            schema_id="general@000000000000",
        )


def main() -> None:
    """Add triples twice, and ask a question, which makes the index."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "triples.jsonl"
        with file.open("w", encoding="utf-8") as stream:
            stream.writelines(triple.model_dump_json() + "\n" for triple in make_triples(count))
        with KnowledgeGraph(Path(folder) / "kg") as graph:
            steps: dict[str, Callable[[], object]] = {
                "add": lambda: graph.add(read_triples(file)),
                "add the same again": lambda: graph.add(read_triples(file)),
                "make the index": lambda: RdfIndex(graph),
                "ask": lambda: list(
                    RdfIndex(graph).query("SELECT ?a { ?a rel:born_in ?b } LIMIT 9")
                ),
            }
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                seconds = time.perf_counter() - start
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                rows.append((name, f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{peak:,}"))
            edges = graph.counts()["edges"]
    print(f"{count:,} triples, {edges:,} edges\n")
    print(markdown_table(("step", "seconds", "triples/s", "peak MB so far"), rows))


if __name__ == "__main__":
    main()
