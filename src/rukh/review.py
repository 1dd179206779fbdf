"""Drafts become verified descriptions, one decision of a person at a time.

This is the "manual verification" of ROC, section 3. Every decision is written to the schema's file
before the next is asked for; comments and whatever else stands in the file stay as they are.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from datetime import date as Date
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from rukh.descriptions import Description
from rukh.errors import InputError, MissingDependency
from rukh.files import atomic_open, parse_yaml
from rukh.schema import Relation, RelationSchema

MAX_TEXT = 2000
"""The most characters of a description that is typed in."""
CHOICES = {"a": "accept", "e": "edit", "d": "drop", "s": "skip", "q": "quit"}
Decision: TypeAlias = Literal["accept", "edit", "drop"]
Ask: TypeAlias = Callable[[str, str], str | None]
"""Shows a prompt, and a text to start from, and gives a line; None where there are no more."""


class Draft(NamedTuple):
    """A description that waits to be verified, and its place among its relation's."""

    relation: Relation
    place: int
    text: Description


def drafts(schema: RelationSchema) -> list[Draft]:
    """All drafts, in the schema's order."""
    return [
        Draft(relation, index, text)
        for relation in schema.relations
        for index, text in enumerate(relation.descriptions)
        if text.status == "draft"
    ]


def decide(
    path: Path,
    draft: Draft,
    decision: Decision,
    today: Date,
    *,
    text: str | None = None,
    author: str | None = None,
) -> None:
    """Write one decision into a schema's file, whole or not at all.

    Args:
        path: The schema's file.
        draft: As :func:`drafts` found it there.
        decision: ``accept`` verifies its text, ``edit`` puts another, verified, in its place,
            ``drop`` takes it out.
        today: The date of the change.
        text, author: The new text and who wrote it, for ``edit``.

    Raises:
        InputError: The draft is no longer there, is the relation's only description (``drop``),
            the new text is empty or too long, or the file is not of a form that can be edited.
        MissingDependency: ``ruamel.yaml`` is not installed.
    """
    if decision == "edit":
        text = " ".join((text or "").split())
        if not text or len(text) > MAX_TEXT:
            raise InputError(f"a description has 1 to {MAX_TEXT} characters, not {len(text)}")
    schema = RelationSchema.load(path, undescribed=True)
    if draft not in drafts(schema):
        raise InputError("the draft is no longer there; another change came first", where=str(path))
    texts = list(draft.relation.descriptions)
    if decision == "drop":
        if len(texts) == 1:
            raise InputError(
                f"{draft.relation.name!r} has no other description", fix="edit this one instead"
            )
        del texts[draft.place]
    else:
        texts[draft.place] = Description(
            draft.text if text is None else text,
            status="verified",
            author=draft.text.author if decision == "accept" else author,
            date=today,
        )
    relations = tuple(
        r.model_copy(update={"descriptions": tuple(texts)}) if r.name == draft.relation.name else r
        for r in schema.relations
    )
    place = [r.name for r in schema.relations].index(draft.relation.name)
    new = None if decision == "drop" else texts[draft.place]
    edited = _edited(path, place, draft.place, new)
    wanted = schema.model_copy(update={"relations": relations}).model_dump()
    if _read(edited, path).model_dump() != wanted:
        raise InputError(
            "the file cannot be edited in place",
            where=str(path),
            fix="write it without anchors and aliases",
        )
    # Through a link, so that the link stays one.
    with atomic_open(path.resolve()) as stream:
        stream.write(edited)


def _edited(path: Path, relation: int, index: int, new: Description | None) -> str:
    """The file's text with one description changed or taken out, and everything else kept."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
        from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted
    except ImportError:
        raise MissingDependency("ruamel.yaml", "describe") from None
    yaml = YAML()  # round trip: comments and quotes stay, and tags are not followed
    yaml.preserve_quotes, yaml.width = True, 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        data: Any = yaml.load(path.read_text(encoding="utf-8"))
        texts = data["relations"][relation]["descriptions"]
        if new is None:
            del texts[index]
        else:
            entry = texts[index]
            if new != entry["text"]:
                # Quoted: YAML 1.1, by which schemas are read, takes more words for no strings.
                entry["text"] = Quoted(new)
            entry["status"] = new.status
            if new.author is None:
                entry.pop("author", None)
            elif new.author != entry.get("author"):
                entry["author"] = Quoted(new.author)
            entry["date"] = new.date
        out = io.StringIO()
        yaml.dump(data, out)
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the file cannot be edited in place: {' '.join(str(error).split())}", where=str(path)
        ) from None
    return out.getvalue()


def _read(text: str, path: Path) -> RelationSchema:
    return RelationSchema.parse(parse_yaml(text, str(path)), str(path), undescribed=True)


def review(
    path: Path, ask: Ask, tell: Callable[[str], None], *, author: str, today: Date
) -> Counter[str]:
    """Walk through a file's drafts until there are none, or no more answers.

    Args:
        path: The schema's file.
        ask: Where answers come from.
        tell: Shows a line.
        author: Whose words an edited description has.
        today: The date of the changes.

    Returns:
        How often each decision was taken; ``left`` counts the drafts that are left.
    """
    counts: Counter[str] = Counter()
    skipped: set[tuple[str, str]] = set()
    last = None
    while True:
        waiting = drafts(RelationSchema.load(path, undescribed=True))
        counts["left"] = len(waiting)
        waiting = [d for d in waiting if (d.relation.name, str(d.text)) not in skipped]
        if not waiting:
            return counts
        draft = waiting[0]
        if draft.relation.name != last:
            last = draft.relation.name
            tell(_heading(draft.relation))
        tell(f"\n  {printable(draft.text)}")
        tell(
            f"  by {printable(draft.text.author or 'nobody named')}, {draft.text.date or 'undated'}"
        )
        choice = _choice(ask)
        if choice == "quit":
            return counts
        if choice == "skip":
            skipped.add((draft.relation.name, str(draft.text)))
            counts["skip"] += 1
            continue
        text = None
        if choice == "edit":
            text = ask("new text: ", str(draft.text))
            if text is None:
                return counts
        try:
            decide(path, draft, choice, today, text=text, author=author)
        except InputError as error:
            tell(f"  {error}")
            if draft not in drafts(RelationSchema.load(path, undescribed=True)):
                raise
        else:
            counts[choice] += 1


def _choice(ask: Ask) -> Any:
    prompt = "[a]ccept, [e]dit, [d]rop, [s]kip, [q]uit: "
    while (line := ask(prompt, "")) is not None:
        word = line.strip().lower()
        for letter, choice in CHOICES.items():
            if word in (letter, choice):
                return choice
    return "quit"


def _heading(relation: Relation) -> str:
    types = [" or ".join(names) or "any type" for names in (relation.head, relation.tail)]
    way = ", symmetric" if relation.symmetric else ""
    way = f", inverse of {relation.inverse}" if relation.inverse else way
    lines = [f"\n{relation.name}: head {types[0]}, tail {types[1]}{way}"]
    lines += [f"  = {text}" for text in relation.descriptions if text.status != "draft"]
    return "\n".join(map(_line, lines))


def _line(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def printable(text: str) -> str:
    r"""A text that a terminal can only show, not obey.

    Example:
        >>> printable("red" + chr(27) + "[31m")
        'red\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
