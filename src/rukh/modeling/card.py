"""The part of a model card that says how to load the model, with the model's name.

:mod:`rukh.training.model_card` writes the other parts.
"""

from __future__ import annotations

import re

HEAD = """# {name}

{summary}

## How to use

```python
{usage}
```

`{name}` is the name of a shipped model or of one on the Hugging Face hub, or the path of this
folder.
"""
RELATION_SUMMARY = (
    "A relation extraction model for rukh. It predicts the relation between two arguments of a "
    "post, entities of the text or objects of the image, by retrieving the relation whose "
    "description is nearest to the pair."
)
RELATION_USAGE = """from rukh import Extractor, Post

extractor = Extractor.from_pretrained("{name}")
for triple in extractor.extract([Post(id="1", text="Ann Lee was born in Rome.")]):
    print(triple.head.text, triple.relation, triple.tail.text, triple.score)"""
METADATA = """---
library_name: rukh
tags:
- relation-extraction
---

"""
"""What the hub reads. It stands before a card that has no such block."""


def minimal_card(name: str) -> str:
    """Write the card of a relation model of which nothing else is known."""
    usage = RELATION_USAGE.format(name=name)
    return HEAD.format(name=name, summary=RELATION_SUMMARY, usage=usage)


def rename_card(card: str, name: str) -> str:
    """Replace the name of a model in its card, at the places where :data:`HEAD` has it.

    A card that was written by hand is returned unchanged.

    Example:
        >>> rename_card(minimal_card("mine"), "owner/mine") == minimal_card("owner/mine")
        True
    """
    heading = re.search(r"^# (.+)$", card, re.MULTILINE)
    if heading is None or f"`{heading[1]}` is the name" not in card:
        return card
    for form in ("# {}\n", '("{}")', "`{}` is the name"):
        card = card.replace(form.format(heading[1]), form.format(name), 1)
    return card


def hub_card(card: str, name: str) -> str:
    """Return a model's card with its name on the hub, and with the metadata that the hub reads."""
    return ("" if card.startswith("---\n") else METADATA) + rename_card(card, name)
