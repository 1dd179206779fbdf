"""What the documentation says is run, its links lead somewhere, and it leaves no key out."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from rukh.errors import WeightsError
from rukh.hub import model_folder
from rukh.records import Pair, Post, TextEntity, Triple, VisualObject
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig

CHECKOUT = Path(__file__).parents[1]
PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")])
SESSIONS = [page for page in PAGES if "```pycon" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.stem)
def test_sessions_say_what_the_code_does(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r'from_pretrained\("(\w+)"\)', text):
        try:
            model_folder(name)
        except WeightsError as error:
            pytest.skip(f"not shipped: {error}")
    parser, names = doctest.DocTestParser(), {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    blocks = re.findall(r"^```pycon\n(.*?)^```", text, re.M | re.S)
    for number, block in enumerate(blocks, 1):
        test = parser.get_doctest(block, names, f"{page.name}, block {number}", str(page), 0)
        failed, _ = runner.run(test, clear_globs=False)
        names = test.globs
        assert not failed, f"{page.name}, block {number}; see the output above"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith(("https://", "#")):
            target = page.parent / link.partition("#")[0]
            if not target.exists() and target.name == "result.png":
                pytest.skip("the picture is drawn once the model is shipped")
            assert target.exists(), link


def test_files_that_are_named_are_there() -> None:
    told = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = CHECKOUT / "src" / "rukh"
    names = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", told))
    assert len(names) > 25
    for name in names:
        assert (source / name).exists() or (CHECKOUT / name).exists(), name
    # And none is left out.
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py"}
    assert not modules - {Path(name).name for name in names} - {"errors.py", "config.py"}


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all keys of a configuration."""
    found = []
    for name, field in model.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            found += keys(below, f"{prefix}{name}.")
        else:
            found.append(prefix + (field.alias or name))
    return found


@pytest.mark.parametrize(
    ("config", "task", "above"),
    [
        (RelationTrainingConfig, "relations", None),
        (TaggerConfig, "tagger", "training."),
    ],
)
def test_every_key_has_its_row_with_its_default(
    config: type[BaseModel], task: str, above: str | None
) -> None:
    page = (CHECKOUT / "docs" / "training.md").read_text(encoding="utf-8")
    part = page.split(f"## Keys of `task: {task}`")[1].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", part, re.M))
    told_above = {key for key in keys(config) if above and key.startswith(above)}
    assert set(rows) == {*keys(config)} - told_above
    assert above is None or f"`{above}*` as above" in part
    for key, told in rows.items():
        model: type[BaseModel] = config
        *parents, last = key.split(".")
        for name in parents:
            model = model.model_fields[name].annotation  # type: ignore[assignment]
        field = {f.alias or name: f for name, f in model.model_fields.items()}[last]
        if field.is_required():
            assert told == "required", key
        else:
            default = field.default
            text = ", ".join(default) if isinstance(default, tuple) else str(default)
            shown = {
                "None": "none",
                "True": "true",
                "False": "false",
                "": "nothing",
                "{}": "nothing",
            }
            assert told == f"`{shown.get(text, text)}`" or told == shown.get(text), key


def test_every_field_of_a_record_is_described() -> None:
    page = (CHECKOUT / "docs" / "formats.md").read_text(encoding="utf-8")
    _, going_in, coming_out, *_ = page.split("\n## ")
    fields = set(Post.model_fields)
    for prefix, record in (("entities", TextEntity), ("objects", VisualObject), ("pairs", Pair)):
        fields |= {f"{prefix}[].{name}" for name in record.model_fields}
    assert set(re.findall(r"^\| `([a-z_.\[\]]+)` \|", going_in, re.M)) == fields
    told = "".join(re.findall(r"^\| (`.*?) \|", coming_out, re.M))
    assert set(re.findall(r"`(\w+)`", told)) == set(Triple.model_fields)


def test_the_tables_of_the_splits_are_those_of_the_finished_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`rukh study zero-shot --finished` prints what docs/open.md shows."""
    from research.zero_shot.splits import ZeroShotConfig, summary, table

    from rukh.config import load_config
    from rukh.utils.files import read_json

    monkeypatch.setenv("RUKH_DATA", "somewhere")  # only the names of the splits are read
    config = load_config(CHECKOUT / "configs" / "zero-shot.yaml", ZeroShotConfig)
    folder = CHECKOUT / "studies" / "results" / "zero-shot"
    files = [folder / f"{split.name}.json" for split in config.splits]
    told = table(summary([read_json(file) for file in files if file.exists()]))
    assert told in (CHECKOUT / "docs" / "open.md").read_text("utf-8")


@pytest.mark.parametrize("grid", ["mnre-ablation", "mnre-heads", "mnre-low-resource"])
def test_the_table_of_a_grid_is_that_of_its_finished_cells(
    grid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rukh study ablation --finished` prints what docs/mnre.md shows."""
    from research.ablation.grid import AblationConfig, compare, run, table

    from rukh.config import load_config

    monkeypatch.chdir(CHECKOUT)
    config = load_config(CHECKOUT / "configs" / f"{grid}.yaml", AblationConfig)
    results = list(run(config, CHECKOUT / "none", finished=True))
    assert len(results) == len(list(config.results.glob("*.json")))
    shown = table(compare(results, config.reference))
    assert shown in (CHECKOUT / "docs" / "mnre.md").read_text("utf-8")
