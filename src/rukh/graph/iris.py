"""The identifiers (IRIs) of what a knowledge graph contains. They are made from names and ids."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import quote

from rukh.graph.names import Name

BASE = "urn:rukh:"
"""Start of the IRIs of everything but the vocabularies of others."""
PREFIXES = {
    "entity": f"{BASE}entity:",
    "rel": f"{BASE}relation:",
    "edge": f"{BASE}edge:",
    "post": f"{BASE}post:",
    "type": f"{BASE}type:",
    "rukh": f"{BASE}vocabulary:",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "prov": "http://www.w3.org/ns/prov#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "wdt": "http://www.wikidata.org/prop/direct/",
}
"""The prefixes that queries may use without declaring them, and that files declare."""


@lru_cache(maxsize=10_000)
def slug(text: str) -> str:
    """Write a text as a part of an IRI that needs no escape in Turtle."""
    if re.fullmatch(r"[\w-]*", text):
        return text
    safe = (c if c.isalnum() or c in "_-" else quote(c, safe="") for c in text.replace(" ", "_"))
    return "".join(safe)


def entity_iri(name: Name) -> str:
    """Return the IRI of the entity with this name.

    Example:
        >>> entity_iri(Name("Dr. Ann Lee", "PER"))
        'urn:rukh:entity:PER:ann_lee'
    """
    return f"{BASE}entity:{slug(name.kind or 'unknown')}:{slug('_'.join(name.words))}"


def object_iri(key: str) -> str:
    """Return the IRI of a visual object, given a text that no other object has."""
    return f"{BASE}entity:object:{_digest(key)}"


@lru_cache(maxsize=10_000)
def relation_iri(name: str) -> str:
    """Return the IRI of a relation.

    Example:
        >>> relation_iri("born in"), relation_iri("/per/org/member_of")
        ('urn:rukh:relation:born_in', 'urn:rukh:relation:per:org:member_of')
    """
    return PREFIXES["rel"] + ":".join(map(slug, name.strip("/").split("/")))


def edge_iri(head: str, relation: str, tail: str) -> str:
    """Return the IRI of an edge between two entities, given by their IRIs."""
    return f"{BASE}edge:{_digest(head, relation, tail)}"


def evidence_iri(*parts: str | None) -> str:
    """Return the IRI of a triple that states an edge, given all that tells it from others."""
    return f"{BASE}evidence:{_digest(*map(str, parts))}"


def post_iri(post: str) -> str:
    """Return the IRI of a post, given by its id. Two ids never have the same."""
    return f"{BASE}post:{quote(post, safe='')}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
