"""A real language model drafts descriptions over its own server: ``make test-llm``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rukh.schema.schema import RelationSchema

pytestmark = pytest.mark.llm
MODEL = "qwen2.5-coder-1.5b-instruct"
RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]
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


def test_drafts_pass_the_lint(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUKH_LLM_BASE_URL", f"{address}/v1")
    monkeypatch.setenv("RUKH_LLM_MODEL", MODEL)
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    source, draft, totals = (tmp_path / n for n in ("three.yaml", "draft.yaml", "totals.json"))
    source.write_text(yaml.safe_dump(SCHEMA))
    start = time.monotonic()
    command = [*RUKH, "describe", str(source), "--out", str(draft), "--json", str(totals)]
    subprocess.run([*command, "--timeout", "900", "--attempts", "10"], check=True)
    seconds = time.monotonic() - start
    schema = RelationSchema.load(draft)
    for name in schema.names:
        texts = schema.relation(name).descriptions
        assert [(text.status, text.author) for text in texts] == [("draft", MODEL)] * 5
        print(f"\n{name}", *texts, sep="\n  ")
    counts = json.loads(totals.read_text())
    assert counts["requests"] >= 3 and counts["tokens_out"] > 100 and not counts["uncounted"]
    print(f"\n{seconds:.0f} s, {counts}")
    lint = subprocess.run([*RUKH, "schema", "lint", str(draft)], capture_output=True, text=True)
    print(lint.stdout)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    # The same command again finds all answers in the cache.
    again = tmp_path / "again.yaml"
    subprocess.run([again if part == str(draft) else part for part in command], check=True)
    counts = json.loads(totals.read_text())
    assert (counts["requests"], counts["cached"]) == (0, 3)
    assert RelationSchema.load(again) == schema
