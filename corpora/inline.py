"""The form in which posts are written: one a line, with entities inline and their relations.

``register ||| text with {id|TYPE|surface} ||| head-id relation tail-id; ...``; see ``BRIEF.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, as_input_error
from rukh.schema.schema import RelationSchema
from rukh.utils.files import file_errors, parse_yaml

POSTS = Path(__file__).parent / "posts"
"""Folder of the posts and of the relations of their fields."""
REGISTERS = frozenset({"social", "news", "wiki", "work"})
TYPES = tuple(RelationSchema.load("general").types)
"""The entity types."""
_ENTITY = re.compile(r"\{(\w+)\|(\w+)\|([^{}]+)\}")


def parse_post(line: str, name: str, schema: RelationSchema) -> Post:
    """Read one line; the post's ``meta`` holds its register.

    All pairs of a post are decided: those not listed are related by none of the schema's relations.

    Raises:
        InputError: The line does not have the form, or breaks a rule of the brief.

    Example:
        >>> schema = RelationSchema.parse(
        ...     {"name": "s", "relations": [{"name": "lives in", "descriptions": ["home"]}]})
        >>> line = "news ||| {a|PER|Ann Lee} of {b|LOC|Rome} ||| a lives in b"
        >>> post = parse_post(line, "1", schema)
        >>> post.text, post.surface("b"), post.pairs[0].relation
        ('Ann Lee of Rome', 'Rome', 'lives in')
    """
    parts = [part.strip() for part in line.split("|||")]
    if len(parts) != 3:
        raise InputError(f"{len(parts)} fields, not three", fix="separate them with |||")
    register, marked, facts = parts
    if register not in REGISTERS:
        raise InputError(f"unknown register {register!r}", fix=f"one of {sorted(REGISTERS)}")
    text, entities, end = "", [], 0
    for match in _ENTITY.finditer(marked):
        text += marked[end : match.start()]
        id_, type_, surface = match.groups()
        if type_ not in TYPES:
            problem = f"unknown type {type_!r} of {surface!r}"
            raise InputError(problem, fix=f"one of {', '.join(TYPES)}")
        if surface != surface.strip() or surface[0] in "@#":
            raise InputError(f"{surface!r} has a space, @ or # at its edge", fix="write it outside")
        entities.append(
            TextEntity(id=id_, start=len(text), end=len(text) + len(surface), type=type_)
        )
        text += surface
        end = match.end()
    text += marked[end:]
    if "{" in text or "}" in text:
        raise InputError("a brace that opens or closes no entity", fix="write {id|TYPE|surface}")
    pairs = [_pair(fact, schema) for fact in facts.split(";") if fact.strip()]
    try:
        post = Post(
            id=name,
            text=text,
            entities=tuple(entities),
            pairs=tuple(pairs),
            meta={"register": register},
        )
    except ValidationError as error:
        raise as_input_error(error) from None
    seen: set[tuple[str, str, str | None]] = set()
    for pair in pairs:
        relation = schema.relation(str(pair.relation))
        head, tail = post.argument(pair.head), post.argument(pair.tail)
        if not relation.allows(head.type, tail.type):
            problem = f"{relation.name!r} does not allow {head.type} -> {tail.type}"
            raise InputError(problem, fix="turn it round, or mend the types of one of them")
        ends = sorted((pair.head, pair.tail)) if relation.symmetric else (pair.head, pair.tail)
        if (fact := (*ends, pair.relation)) in seen:
            raise InputError(f"{relation.name!r} is listed twice for one pair")
        seen.add(fact)
    return post


def _pair(fact: str, schema: RelationSchema) -> Pair:
    words = fact.split()
    if len(words) < 3:
        raise InputError(f"{fact.strip()!r} is no triple", fix="write: head-id relation tail-id")
    relation = schema.relation(" ".join(words[1:-1])).name
    try:
        return Pair(head=words[0], tail=words[-1], relation=relation)
    except ValidationError as error:
        raise as_input_error(error) from None


def read_lines(path: Path, schema: RelationSchema) -> Iterator[Post | InputError]:
    """Yield the post of each line of a file that is not empty, or the error that it makes."""
    with file_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield parse_post(line, f"{path.stem}:{number}", schema)
            except InputError as error:
                yield error.at(f"{path}:{number}")


def read_all(path: Path, schema: RelationSchema) -> list[Post]:
    """Read the posts of a file. Raises InputError for the first line that is not valid."""
    posts = []
    for result in read_lines(path, schema):
        if isinstance(result, InputError):
            raise result
        posts.append(result)
    return posts


def fields(folder: Path = POSTS) -> list[Path]:
    """Return the files of posts in a folder, one for each field."""
    return sorted(folder.glob("*.txt"))


def field_schema(path: Path) -> RelationSchema:
    """Load the schema of a file of posts, from the ``.yaml`` file of the same name.

    A whole schema, which has a name, is used as it is. A file that has only relations adds them to
    the shipped schema ``general``. Without a file, the relations are those of ``general``.

    Raises:
        InputError: The file is not valid.
    """
    general, file = RelationSchema.load("general"), path.with_suffix(".yaml")
    if not file.exists():
        return general
    with file_errors(file):
        data = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    if isinstance(data, dict) and "name" not in data and isinstance(data.get("relations"), list):
        relations = [{"name": general.nota}, *data["relations"]]
        data = {**data, "name": path.stem, "nota": general.nota, "relations": relations}
        return RelationSchema.merge([general, RelationSchema.parse(data, str(file))])
    return RelationSchema.parse(data, str(file))
