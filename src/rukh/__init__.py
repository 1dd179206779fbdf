"""rukh: relation extraction from text and images, by retrieval."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rukh.data.triples import to_dataframe as to_dataframe
    from rukh.errors import InputError as InputError
    from rukh.errors import MissingDependency as MissingDependency
    from rukh.errors import RukhError as RukhError
    from rukh.errors import WeightsError as WeightsError
    from rukh.extractor import Extractor as Extractor
    from rukh.graph.store import KnowledgeGraph as KnowledgeGraph
    from rukh.modeling.model import RelationModel as RelationModel
    from rukh.records import Pair as Pair
    from rukh.records import Post as Post
    from rukh.records import TextEntity as TextEntity
    from rukh.records import Triple as Triple
    from rukh.records import VisualObject as VisualObject
    from rukh.schema.schema import RelationSchema as RelationSchema
    from rukh.training.trainer import Trainer as Trainer

# Nothing heavy is imported until it is used: `import rukh` must stay fast.
_HOMES = {"Extractor": "rukh.extractor", "RelationModel": "rukh.modeling.model"}
_HOMES |= {"RelationSchema": "rukh.schema.schema", "Trainer": "rukh.training.trainer"}
_HOMES |= dict.fromkeys(["Pair", "Post", "TextEntity", "Triple", "VisualObject"], "rukh.records")
_HOMES |= {"KnowledgeGraph": "rukh.graph.store"}
_HOMES |= {"to_dataframe": "rukh.data.triples"}
_HOMES |= dict.fromkeys(
    ["RukhError", "InputError", "MissingDependency", "WeightsError"], "rukh.errors"
)
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rukh' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
