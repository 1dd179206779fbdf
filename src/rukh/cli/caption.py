"""``rukh caption``: caption the images of posts with a language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result, print_status
from rukh.errors import InputError

CHUNK = 16
"""Number of images between two commits of the output."""


def caption(
    input: Annotated[Path, typer.Argument(help="File of posts with images.")],
    out: Annotated[Path, typer.Option(help="File of captions to write, as --captions reads it.")],
    sample: options.Sample = None,
    parallel: options.Parallel = 4,
    fresh: options.Fresh = False,
    format: options.InputFormat = None,
    images: options.Images = None,
    json: options.Json = None,
) -> None:
    """Caption the images of posts with a language model that can see.

    Any OpenAI-compatible endpoint with such a model can be used. Set RUKH_LLM_BASE_URL,
    RUKH_LLM_MODEL and, if the endpoint needs a key, RUKH_LLM_API_KEY. Images are scaled down and
    sent with the request. Answers are cached, and the same command resumes an interrupted run.
    """
    import json as serializer
    import os

    from rukh.data.readers import read
    from rukh.llm.caption import caption_images
    from rukh.llm.endpoint import Endpoint, from_environment
    from rukh.utils.files import check_new, check_outputs
    from rukh.utils.resumable_output import ResumableOutput

    check_new(out, "captions by a person")
    check_outputs([out, json], input)
    config, key = from_environment(os.environ)
    endpoint = Endpoint(config, key, fresh=fresh)
    posts = list(read(input, format, images=images))
    paths = list(dict.fromkeys(post.image for post in posts if isinstance(post.image, Path)))
    if inline := sum(isinstance(post.image, bytes) for post in posts):
        print_status(f"{inline:,} images within {input} have no name, so they get no caption")
    if not paths:
        raise InputError("no post has an image with a name", where=str(input))
    if repeated := len(paths) - len({path.name for path in paths}):
        problem = f"{repeated:,} images have the name of another image, by which captions are found"
        raise InputError(problem, where=str(input), fix="rename them")
    paths = options.draw(paths, sample)
    identity = {"images": [str(path) for path in paths], "model": config.model}
    output = ResumableOutput(out, identity)

    def caption_chunk(chunk: Sequence[Path]) -> list[str]:
        captions = caption_images(chunk, endpoint, parallel=parallel)
        return [
            serializer.dumps({"img_id": path.name, "text": text}, ensure_ascii=False)
            for path, text in zip(chunk, captions, strict=True)
            if text is not None
        ]

    try:
        output.write_chunks(paths, CHUNK, caption_chunk, "image")
    finally:
        print_status(f"{config.model}: {endpoint.tell_totals()}")
    result = {"images": len(paths), "captions": output.count, "model": config.model}
    told = f"{output.count:,} captions of {len(paths):,} images written to {out}"
    print_result(told, result | endpoint.totals, json)
