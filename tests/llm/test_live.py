"""A real language model drafts descriptions over its own server: ``make test-llm``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from rukh.cli.schema import load_embedder
from rukh.llm.describe import describe, prompts, select_relations
from rukh.llm.endpoint import Endpoint, EndpointConfig
from rukh.schema.lint import lint
from rukh.schema.schema import RelationSchema

pytestmark = pytest.mark.llm
MODEL = "qwen2.5-coder-1.5b-instruct"
SCHEMA = {
    "name": "three",
    "nota": "none",
    "types": {"PER": "person", "ORG": "organization", "LOC": "location"},
    "relations": [
        {"name": "none"},
        {"name": "/per/org/member_of", "head": ["PER"], "tail": ["ORG"]},
        {"name": "/per/loc/place_of_birth", "head": ["PER"], "tail": ["LOC"]},
        {"name": "/per/per/siblings", "head": ["PER"], "tail": ["PER"], "symmetric": True},
    ],
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server of the model."""
    folder = os.environ.get("RUKH_LLM_FOLDER")
    if not folder:
        pytest.skip("no model; run make test-llm")
    serve = Path(__file__).parent / "serve.py"
    command = [f"{folder}/venv/bin/python", str(serve), f"{folder}/model.gguf"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdin and run.stdout
        yield run.stdout.readline().strip()
        run.stdin.close()


def test_drafts_pass_the_lint(address: str, cache: Path) -> None:
    schema = RelationSchema.parse(SCHEMA, require_descriptions=False)
    embed, excess_tokens = load_embedder(None)
    conversations = prompts(schema, select_relations(schema), embed)
    # A small model on a CPU is slow, and often wrong at first.
    config = EndpointConfig(base_url=f"{address}/v1", model=MODEL, timeout=900, attempts=10)
    endpoint = Endpoint(config)
    draft = describe(schema, conversations, endpoint, date.today())
    for name in draft.names:
        texts = draft.relation(name).descriptions
        assert [(text.status, text.author) for text in texts] == [("draft", MODEL)] * 5
        print(f"\n{name}", *texts, sep="\n  ")
    print(f"\n{endpoint.totals}")
    assert endpoint.totals["requests"] >= 3 and endpoint.totals["tokens_out"] > 100
    assert not endpoint.totals["uncounted"]
    findings = lint(draft, embed, excess_tokens=excess_tokens)
    assert not [finding for finding in findings if finding.level == "error"]
    again = Endpoint(config)
    assert describe(schema, conversations, again, date.today()) == draft
    assert (again.totals["requests"], again.totals["cached"]) == (0, 3)
