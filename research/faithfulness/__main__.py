"""``python -m research.faithfulness``: explanations on the development set."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from corpora.inline import field_schema, read_all

from research.command import command_line, main
from research.development.__main__ import DEVELOPMENT
from research.faithfulness.study import WORDS, measure, summarize
from rukh.cli import options
from rukh.cli.logs import print_result
from rukh.extractor import Extractor
from rukh.utils.markdown import markdown_table
from rukh.utils.progress import progress_bar

METHODS = ("integrated_gradients", "occlusion")


def faithfulness(
    model: options.Model = "open",
    posts: Annotated[int, typer.Option(min=1, help="Maximum number of posts.")] = 1000,
    json: options.Json = None,
) -> None:
    """Take the words away that explanations rank highest, and random ones, with entities given."""
    schema = field_schema(DEVELOPMENT)
    some = [post.model_copy(update={"pairs": None}) for post in read_all(DEVELOPMENT, schema)]
    extractor = Extractor.from_pretrained(model, schema=schema)
    results: dict[str, Any] = {}
    for method in METHODS:
        falls = list(progress_bar(measure(extractor, some[:posts], method), desc=method))
        errors = [fall.error for fall in falls if fall.error is not None]
        results[method] = {
            "triples": len(falls),
            "largest error": max(errors, default=None),
            "error below 1 %": sum(error < 0.01 for error in errors),
            "falls": summarize(falls),
        }
    rows = [
        [name, *(_interval(results[method]["falls"][name]) for method in METHODS)]
        for name in results[METHODS[0]]["falls"]
    ]
    for name in ("triples", "largest error", "error below 1 %"):
        rows.append([name, *(_number(results[method][name]) for method in METHODS)])
    header = [f"fall of the probability, {WORDS} words", *METHODS]
    print_result(markdown_table(header, rows), {"model": model, **results}, json)


def _interval(values: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


app = command_line(faithfulness)
if __name__ == "__main__":
    main(app)
