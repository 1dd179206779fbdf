"""Markdown tables."""

from __future__ import annotations

from rukh.utils.markdown import escape, markdown_table, percent


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    rows = [("a", "50.1", "[1, 2]", 3), ("b", "-2", "", "")]
    assert markdown_table(("name", "F1", "range", "n"), rows).splitlines() == [
        "| name | F1 | range | n |",
        "| --- | ---: | --- | ---: |",
        "| a | 50.1 | [1, 2] | 3 |",
        "| b | -2 |  |  |",
    ]
    assert markdown_table(("name",), []).splitlines() == ["| name |", "| --- |"]


def test_text_cannot_leave_its_cell() -> None:
    assert escape("a|b\n*c* <i>") == r"a\|b \*c\* \<i\>"


def test_percentages() -> None:
    assert (percent(0.5184), percent(1, 0)) == ("51.8", "100")
