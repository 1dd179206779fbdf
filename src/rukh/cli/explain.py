"""``rukh explain``: say why each triple is predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rukh.cli import options
from rukh.cli.logs import print_status

if TYPE_CHECKING:
    from rukh.explain import Explanation
    from rukh.records import Post


def explain(
    input: Annotated[Path, typer.Argument(help="File of posts (-: standard input).")],
    model: options.Model = "open",
    tagger: options.Tagger = None,
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    post: Annotated[
        list[str] | None, typer.Option(help="Only the post with this id; may be repeated.")
    ] = None,
    method: Annotated[
        Literal["occlusion", "integrated_gradients"],
        typer.Option(
            help="How words are weighed: by hiding each, or by integrated gradients, whose weights "
            "add up and which need rukh[explain]."
        ),
    ] = "occlusion",
    top_k: Annotated[int, typer.Option(min=1, help="Number of relations to rank.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Write JSON lines to this file (-: standard output).")
    ] = None,
    format: options.InputFormat = None,
    images: options.Images = None,
    captions: options.Captions = None,
    device: options.Device = "auto",
) -> None:
    """Say why each triple is predicted: words, image regions, descriptions, and what changes it."""
    import json
    from contextlib import nullcontext

    from rukh.data.readers import read_posts
    from rukh.errors import InputError, suggestion
    from rukh.explain import explain as explain_triple
    from rukh.extractor import Extractor
    from rukh.utils.files import atomic_open, check_outputs
    from rukh.utils.progress import progress_bar

    check_outputs([out], input, captions, schema)
    posts = list(read_posts(input, format, images=images, captions=captions))
    if post:
        known = {one.id for one in posts}
        if unknown := [name for name in post if name not in known]:
            fix = suggestion(unknown[0], known)
            raise InputError(f"no post has the id {unknown[0]!r}", where=str(input), fix=fix)
        posts = [one for one in posts if one.id in post]
    extractor = Extractor.from_pretrained(
        model, tagger=tagger, schema=schema, threshold=threshold, device=device
    )
    options.check_captions(captions, extractor)
    count = 0
    with nullcontext() if out is None else atomic_open(out) as stream:
        results = extractor.stream_posts(posts, top_k=top_k)
        for typed, triples in progress_bar(results, total=len(posts), unit="post", delay=2):
            for triple in triples:
                if triple.relation not in extractor.bank.names:
                    continue
                count += 1
                explanation = explain_triple(extractor, typed, triple, method=method)
                if stream is None:
                    typer.echo(_text(typed, explanation) + "\n")
                else:
                    row = explanation.to_dict()
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    print_status(f"{count:,} triples of {len(posts):,} posts explained")


def _text(post: Post, explanation: Explanation) -> str:
    """Format an explanation for a terminal."""
    triple = explanation.triple
    lines = [f"{triple.head.surface} -- {triple.relation} -> {triple.tail.surface}"]
    lines[0] += f"  ({triple.score:.2f}, post {post.id})"
    words = ", ".join(f"{word.text!r} {word.weight:+.1f}" for word in explanation.reason)
    rows: list[tuple[str, str]] = [("words", words or "none: the arguments and their types")]
    ranked: list[Any] = list(triple.ranking or ())
    listed = ", ".join(f"{one.relation or 'none'} {one.score:.2f}" for one in ranked)
    rows.append(("ranking", listed))
    rows += [(f"description {cosine:.2f}", text) for text, cosine in explanation.descriptions[:2]]
    if explanation.regions:
        best = max(explanation.regions, key=lambda region: region.weight)
        place = ", ".join(f"{edge:.2f}" for edge in best.box)
        rows.append(("image", f"most of all at ({place}), {best.weight:+.2f}"))
    answers: dict[str, list[str]] = {}
    for change in explanation.changes:
        if change.relation == triple.relation:
            answer = f"still {change.relation}, {change.score:.2f}"
        else:
            answer = f"{change.relation or 'none'}, {change.score:.2f}"
        if change.what.startswith("with a ") and change.relation is None:
            role = change.what.split()[2]
            answers.setdefault(f"none with a {role} of type", []).append(change.what.split()[-1])
        else:
            rows.append((change.what, answer))
    rows += [(what, ", ".join(types)) for what, types in answers.items()]
    return "\n".join([*lines, *(f"  {name}: {value}" for name, value in rows)])
