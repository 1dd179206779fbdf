"""The contracts between the rooms of the package, and what keeps the command line fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rukh

SOURCE = Path(__file__).parent.parent / "src" / "rukh"
BASE = {"errors", "utils"}
NAMES = BASE | {"records", "registry", "hub"}
MODELS = NAMES | {"schema", "modeling", "arguments"}
EVALUATION = MODELS | {"extractor", "evaluation"}

# Which rooms a room may import. utils may import errors only, so that it works everywhere.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "utils": {"errors"},
    "records": {"errors"},
    "config": BASE | {"records"},
    "registry": BASE | {"records"},
    "hub": BASE | {"records"},
    "data": NAMES | {"schema"},
    "schema": BASE | {"records", "hub"},
    "llm": BASE | {"records", "hub", "config", "schema", "data", "modeling"},
    "graph": NAMES | {"schema", "arguments", "data", "modeling"},
    "explain": MODELS | {"extractor"},
    "audit": BASE | {"records", "data"},
    "modeling": NAMES | {"schema"},
    "arguments": NAMES | {"schema", "modeling"},
    "extractor": MODELS | {"data"},
    "evaluation": EVALUATION,
    "training": EVALUATION | {"config", "data"},
}
# The command line, and rukh itself with its lazy names.
ANY = {"cli", "__init__", "__main__"}
MODULES = {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}


def room(path: str) -> str:
    """The room of a file: its folder, or the name of a module outside of folders."""
    return path.partition("/")[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """The rooms that a module imports, also inside its functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            module = node.module or ""
            names += [f"rukh.{a.name}" for a in node.names] if module == "rukh" else [module]
    assert not [name for name in names if name.startswith("research")]
    return {name.split(".")[1] for name in names if name.startswith("rukh.")} - {"__version__"}


@pytest.mark.parametrize("path", MODULES)
def test_a_room_imports_only_the_rooms_that_it_may(path: str) -> None:
    here = room(path)
    if here not in ANY:
        others = imported_rooms(MODULES[path].read_text(encoding="utf-8")) - {here}
        assert others <= ROOMS.get(here, set())


def test_the_contracts_have_no_cycles() -> None:
    order: list[str] = []
    while len(order) < len(ROOMS):
        ready = [r for r in ROOMS if r not in order and ROOMS[r] - {r} <= {*order}]
        assert ready, f"a cycle among {ROOMS.keys() - {*order}}"
        order += ready


def test_lazy_imports_are_found() -> None:
    lazy = "def f():\n    from rukh.extractor import Extractor\n    import rukh.utils.files\n"
    assert imported_rooms(lazy) == {"extractor", "utils"}
    assert imported_rooms("from rukh import hub, __version__") == {"hub"}


def test_the_package_is_small_and_every_room_says_what_it_is() -> None:
    entries = {room(path) for path in MODULES} - {"__init__", "__main__", "pretrained"}
    assert len(entries) <= 18
    assert entries == {*ROOMS, "cli"}
    for path, file in MODULES.items():
        text = file.read_text(encoding="utf-8")
        assert text.count("\n") <= 450, path
        assert ast.get_docstring(ast.parse(text)), path
        if path.endswith("/__init__.py") and room(path) != "cli":
            assert not imported_rooms(text), path


def test_the_public_names_are_shown_and_found() -> None:
    assert dir(rukh) == sorted(rukh.__all__)
    for name in rukh.__all__:
        assert getattr(rukh, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Extractr'"):
        _ = rukh.Extractr
    types_only = ast.parse(MODULES["__init__.py"].read_text(encoding="utf-8")).body
    (guarded,) = [node for node in types_only if isinstance(node, ast.If)]
    typed = {name.asname for node in guarded.body for name in getattr(node, "names", [])}
    assert typed == {*rukh.__all__} - {"__version__"}


@pytest.mark.parametrize(
    "start", ["import rukh; dir(rukh)", "import rukh.cli", "import rukh.cli.weights"]
)
def test_rukh_and_its_command_line_start_light(start: str) -> None:
    code = f"import sys; {start}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "rukh" in loaded
    assert not loaded & {"torch", "transformers", "pydantic", "numpy", "PIL", "yaml", "rich"}
