"""Captions of images by a language model that can see."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from rukh.errors import InputError
from rukh.llm.endpoint import Endpoint, InvalidAnswer, Message, is_refusal, map_parallel
from rukh.modeling.image_io import load_image
from rukh.records import Record

logger = logging.getLogger(__name__)

MAX_SIDE = 768
"""Maximum width and height of an image that is sent."""
MIN_LENGTH, MAX_LENGTH = 5, 300
"""Bounds of a caption, in characters."""
PROMPT = (
    "Write a caption of this image in one English sentence of at most 25 words: who and what can "
    "be seen, what they do, and where. Name people and places only if a sign or text in the image "
    'names them. Answer with one JSON object: {"caption": "..."}'
)


class Caption(Record):
    """A caption."""

    caption: str


def conversation(image: Path | bytes) -> list[Message]:
    """Build the request for the caption of an image, which is scaled down and sent within it.

    Raises:
        InputError: The image cannot be read; see :func:`rukh.modeling.image_io.load_image`.
    """
    picture, stream = load_image(image), io.BytesIO()
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    picture.save(stream, "JPEG", quality=85)
    url = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
    content = [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return [{"role": "user", "content": content}]


def find_problems(answer: Caption) -> list[str]:
    """List the reasons why a caption is unusable, which are sent back to the model.

    Example:
        >>> find_problems(Caption(caption="Two dogs run along a beach."))
        []
    """
    text, problems = answer.caption.strip(), []
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        problems.append(f"the caption has {len(text)} characters, not {MIN_LENGTH} to {MAX_LENGTH}")
    if "\n" in text:
        problems.append("the caption has more than one line")
    if is_refusal(text):
        problems.append("the caption is about the writer")
    return problems


def caption_images(
    images: Sequence[Path], endpoint: Endpoint, *, parallel: int = 4
) -> list[str | None]:
    """Ask for the captions of images, several at a time.

    Returns:
        The caption of each image; None, with a warning, if the image cannot be read or there is no
        usable answer.

    Raises: See :meth:`rukh.llm.endpoint.Endpoint.ask`, except for ``InvalidAnswer``.
    """

    def ask(image: Path) -> str | None:
        try:
            messages = conversation(image)
        except InputError as error:
            logger.warning("no caption: %s", error)
            return None
        try:
            return endpoint.ask(messages, Caption, find_problems).caption.strip()
        except InvalidAnswer as error:
            logger.warning("%s: no usable answer: %s", image, error)
            return None

    return map_parallel(ask, images, parallel)
