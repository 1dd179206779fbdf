"""Imports point one way, and the command line starts without anything heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "rukh"

# Data flows down this list: a module may import those above it, and those of its own line.
LAYERS = """
errors
files
registry
records
entity_types
descriptions
schema
config
readers templates
schema_import
images
npm_package known_weights
weights pretrained
tensor_cache vector_store
encoders
batching
windows
confusability
endpoint endpoint_config
describe
review
schema_lint
schema_map
features
markers
inputs
pair
index
bank
orders
answers
memory
relation
losses
tagging hf_tagger spacy_tagger detection hf_detector tfjs_graph centernet
tagger_evaluation
model
checkpoints
metrics reliability
mistakes candidates
scoring triples journal calibration folds type_constraints
extraction
evaluation report few_shot
training training_banks distillation corpus
augmentation
model_card
language_model
language_teacher tagger_training relation_training
studies
commands
cli
"""
RANK = {
    name: rank for rank, line in enumerate(LAYERS.strip().splitlines()) for name in line.split()
}


def layer(module: str) -> str:
    """``rukh.data.mnre`` stands in the layer ``readers``."""
    return module.split(".")[1]


def imports(source: str) -> list[str]:
    """The rukh modules that a file imports, those inside its functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            if node.module == "rukh":
                found += [f"rukh.{alias.name}" for alias in node.names]
            else:
                found.append(node.module or "")
    # rukh itself holds nothing but its version and names that resolve later.
    return [name for name in found if name.startswith("rukh.") and name != "rukh.__version__"]


def upward(module: str, source: str) -> list[str]:
    """The imports of a module that point up."""
    return [name for name in imports(source) if RANK[layer(name)] > RANK[layer(module)]]


MODULES = {
    ".".join(("rukh", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "__init__.py"
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    assert layer(module) in RANK, f"give {module} its place in LAYERS"
    assert not upward(module, MODULES[module].read_text(encoding="utf-8"))


def test_an_import_that_points_up_is_seen() -> None:
    lazily = "def f():\n    from rukh.extractor import Extractor\n    import rukh.errors\n"
    assert upward("rukh.records", lazily) == ["rukh.extractor"]
    assert upward("rukh.cli", lazily) == []
    assert upward("rukh.utils.files", "from rukh import schema, __version__") == [
        "rukh.schema.schema"
    ]


@pytest.mark.parametrize("start", ["import rukh.cli", "import rukh.cli.weights"])
def test_the_command_line_starts_light(start: str) -> None:
    code = f"import sys; {start}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "rukh.errors" in loaded
    assert not loaded & {"torch", "transformers", "pydantic", "numpy", "PIL", "yaml", "rich"}
