"""The documentation: sessions give the shown output, links work, no key or field is left out."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

from rukh.data.corpus import CorpusConfig
from rukh.errors import WeightsError
from rukh.hub import model_folder
from rukh.records import (
    EntityMention,
    ObjectMention,
    Pair,
    Post,
    TextEntity,
    Triple,
    VisualObject,
)
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggedCorpusConfig, TaggerConfig

CHECKOUT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "research/**/*.md")
    for page in CHECKOUT.glob(pattern)
)
MODULES = sorted(
    path.relative_to(root).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for root, package in ((CHECKOUT / "src", "rukh"), (CHECKOUT, "research"))
    for path in (root / package).rglob("*.py")
    if "    >>> " in path.read_text(encoding="utf-8")
)
SESSIONS = [page for page in PAGES if "```pycon" in page.read_text(encoding="utf-8")]
DEFAULTS = {
    "None": "none",
    "True": "true",
    "False": "false",
    "": "nothing",
    "{}": "nothing",
    "[]": "nothing",
}
"""How a table shows a default value; others are shown as they are."""


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def section(page: str, title: str) -> str:
    """The text of a section of a page in ``docs/``."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].partition("\n## ")[0]


@pytest.mark.parametrize("page", SESSIONS, ids=name_of)
def test_sessions_give_the_shown_output(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r'from_pretrained\("(\w+)"\)', text):
        try:
            model_folder(name)
        except WeightsError as error:
            pytest.skip(f"not shipped: {error}")
    parser, names = doctest.DocTestParser(), {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for number, block in enumerate(re.findall(r"^```pycon\n(.*?)^```", text, re.M | re.S), 1):
        test = parser.get_doctest(block, names, f"{page.name}, block {number}", str(page), 0)
        failed, _ = runner.run(test, clear_globs=False)
        names = test.globs
        assert not failed, f"{page.name}, block {number}; see the output above"


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    failed, _ = doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failed, "see the output above"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith(("https://", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_architecture_names_existing_files_and_every_room() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = CHECKOUT / "src" / "rukh"
    names = set(re.findall(r"`([\w/]+(?:\.py|/))`", text))
    for name in names:
        assert (source / name).exists() or (CHECKOUT / name).exists(), name
    rooms = {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert rooms | modules <= names


def fields_of(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """The dotted name of every key of a configuration and how its default is shown."""
    fields: dict[str, str] = {}
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            fields |= fields_of(field.annotation, f"{key}.")
        elif field.is_required():
            fields[key] = "required"
        else:
            default = field.default
            text = f"[{', '.join(default)}]" if isinstance(default, tuple) else str(default)
            fields[key] = DEFAULTS.get(text, text)
    return fields


@pytest.mark.parametrize(
    ("config", "task", "nested"),
    [
        (RelationTrainingConfig, "relations", {"extra_corpora": CorpusConfig}),
        (TaggerConfig, "tagger", {"train": TaggedCorpusConfig}),
    ],
)
def test_every_key_has_a_row_with_its_default(
    config: type[BaseModel], task: str, nested: dict[str, type[BaseModel]]
) -> None:
    keys = section("training.md", f"Keys of `task: {task}`")
    rows = re.findall(r"^\| `([a-z_.\[\]]+)` \| `?(.*?)`? \|", keys, re.M)
    same = tuple(f"{prefix}." for prefix in re.findall(r"^`(\w+)\.\*` as above", keys, re.M))
    fields = fields_of(config)
    for name, record in nested.items():
        fields |= fields_of(record, f"{name}[].")
    assert dict(rows) == {k: v for k, v in fields.items() if not same or not k.startswith(same)}


def test_every_field_of_a_record_has_a_row() -> None:
    rows = re.findall(r"^\| `([a-z_.\[\]]+)` \|", section("formats.md", "rukh's JSONL"), re.M)
    fields = list(Post.model_fields)
    for prefix, record in (("entities", TextEntity), ("objects", VisualObject), ("pairs", Pair)):
        fields += [f"{prefix}[].{name}" for name in record.model_fields]
    assert sorted(rows) == sorted(fields)
    output = section("formats.md", "Output")
    first_column = "".join(re.findall(r"^\| (`.*?) \|", output, re.M))
    assert re.findall(r"`(\w+)`", first_column) == list(Triple.model_fields)
    mentions = [re.findall(r'"(\w+)"', keys) for keys in re.findall(r"`\{(.*?)\}`", output)]
    assert mentions == [list(record.model_fields) for record in (EntityMention, ObjectMention)]
