"""Each verdict, and which reason outweighs which."""

from __future__ import annotations

from typing import Any

import pytest

from rukh.audit.verdict import verdict


def question(low: float, null: float = 0.6) -> dict[str, Any]:
    return {"balanced_accuracy": {"low": low}, "null": {"high": null}}


RULE = {"leak": True, "text": "a", "relation": True, "precision": 1.0, "coverage": 0.1}


@pytest.mark.parametrize(
    ("questions", "options", "expected"),
    [
        ({"a": question(0.9), "b": question(0.7)}, {"doubt": "d"}, "leak"),
        ({"a": question(0.5)}, {"rules": [RULE]}, "leak"),
        ({"a": question(0.7)}, {}, "informative"),
        ({"a": question(0.7)}, {"doubt": "d"}, "unknown"),
        ({"a": question(0.7)}, {"left_out": 1}, "informative"),
        ({"a": question(0.5), "b": None}, {}, "none"),
        ({"a": question(0.5)}, {"left_out": 1}, "unknown"),
        ({"a": None}, {}, "unknown"),
    ],
)
def test_verdicts(questions: dict[str, Any], options: dict[str, Any], expected: str) -> None:
    found, why = verdict(questions, options.pop("rules", []), **options)
    assert found == expected
    assert bool(why) == (found != "none")
