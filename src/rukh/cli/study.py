"""``rukh study``: audit data for leaks, compare configurations, and put models to the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from rukh.cli import options
from rukh.cli.audit import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Finished: TypeAlias = Annotated[
    bool, typer.Option("--finished", help="Train nothing: show what is finished.")
]
Work: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of unfinished runs; by default runs/<the file's name>.")
]

app = typer.Typer(no_args_is_help=True, help="Audit data, compare configurations, probe models.")
app.command()(audit)


@app.command()
def ablation(
    grid: Annotated[Path, typer.Argument(help="A YAML file; see configs/mnre-ablation.yaml.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="CELL", help="Run this cell alone. Repeatable.")
    ] = None,
    finished: Finished = False,
    work: Work = None,
    json: options.Json = None,
) -> None:
    """Train a configuration again and again, each time with one thing changed, and compare.

    Every finished cell is kept as a small file, and not trained again; an interrupted one goes on
    from its checkpoint when the same command is given again.
    """
    from research.ablation import grid as study

    from rukh.config import load_config
    from rukh.utils.files import check_output

    check_output(json, grid)

    def line(result: Mapping[str, Any]) -> str:
        free = result["val"]["micro_f1_order_free"]
        return f"{result['cell']}, seed {result['seed']}: {100 * free:.1f}"

    config = load_config(grid, study.AblationConfig)
    runs = study.run(config, _work(work, grid), only or (), finished)
    rows = study.compare(_told(runs, line, "cell", config.results), config.reference)
    _show(study.table(rows), rows, json)
    for remark in study.remarks(rows):
        typer.echo(f"note: {remark}", err=True)


@app.command("zero-shot")
def zero_shot(
    splits: Annotated[Path, typer.Argument(help="A YAML file; see configs/zero-shot.yaml.")],
    finished: Finished = False,
    work: Work = None,
    json: options.Json = None,
) -> None:
    """Train without some relations, and ask for just these.

    Every finished split is kept as a small file, and not trained again; an interrupted one goes on
    from its checkpoint when the same command is given again.
    """
    from research.zero_shot import splits as study

    from rukh.config import load_config
    from rukh.utils.files import check_output

    check_output(json, splits)

    def line(result: Mapping[str, Any]) -> str:
        return f"{result['split']}: {100 * result['described']['macro_f1']:.1f}"

    config = load_config(splits, study.ZeroShotConfig)
    results = _told(study.run(config, _work(work, splits), finished), line, "split", config.results)
    rows = study.summary(results)
    _show(study.table(rows), {"splits": results, "summary": rows}, json)


@app.command()
def seeds(
    model: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Folders of models trained alike.")
    ],
    json: options.Json = None,
) -> None:
    """What models that differ in their seed alone reached on val, and their mean and deviation."""
    from research.seeds import study as study

    from rukh.utils.files import check_output

    check_output(json)
    rows = study.seeds(model)
    _show(study.table(rows), rows, json)


def _work(given: Path | None, file: Path) -> Path:
    return (given or Path("runs") / file.stem).absolute()


def _told(
    runs: Iterable[Mapping[str, Any]],
    line: Callable[[Mapping[str, Any]], str],
    what: str,
    where: Path,
) -> list[Mapping[str, Any]]:
    """All results, each told in a line as it comes. Raises InputError where there is none."""
    from rukh.errors import InputError

    results = []
    for result in runs:
        results.append(result)
        typer.echo(line(result), err=True)
    if not results:
        raise InputError(f"no {what} is finished yet", where=str(where))
    return results


def _show(table: str, data: Any, json: Path | None) -> None:
    from rukh.utils.files import write_json

    if str(json) != "-":
        typer.echo(table, nl=False)
    if json is not None:
        write_json(data, json)


@app.command()
def probe(
    model: options.Model = "probe",
    seed: Annotated[int, typer.Option(min=0, help="Of the test set, which is made anew.")] = 0,
    pairs: Annotated[int, typer.Option(min=20, help="Pairs of each track.")] = 1000,
    split: Annotated[
        Literal["val", "test"],
        typer.Option(help="Whose cut-outs and names; val is there for decisions."),
    ] = "test",
    json: options.Json = None,
) -> None:
    """Does the model look? Posts that only their pictures decide, with them, without, and shuffled.

    The pictures are composed from cut-outs that `make probe-assets` fetches.
    """
    from research.probe import study as study
    from research.probe.cutouts import find_assets

    from rukh.extractor import Extractor
    from rukh.utils.files import check_output, write_json

    check_output(json)
    find_assets()  # said before the model is loaded
    extractor = Extractor.from_pretrained(model)
    figures = study.run(
        extractor, seed, pairs, lambda name: typer.echo(f"asking {name} ...", err=True), split
    )
    if str(json) != "-":
        typer.echo(study.table(figures), nl=False)
        typer.echo(f"{pairs:,} pairs a track of {split}, seed {seed}, {figures['seconds']} s")
    if json is not None:
        write_json(figures, json)


@app.command()
def tagger(
    data: Annotated[Path, typer.Option(help="Tagged sentences: a token, a tab, a BIO label.")],
    name: Annotated[
        str,
        typer.Option("--tagger", help="A shipped tagger, a folder, spacy:NAME, or hf:NAME."),
    ] = "tagger",
    json: options.Json = None,
) -> None:
    """Measure a tagger: the entities it finds in texts, and the types it gives to given ones."""
    from rukh.arguments.tagger import load_tagger
    from rukh.data.conll import gold_spans, read_tagged
    from rukh.errors import InputError
    from rukh.evaluation.tagger import evaluate_tagger
    from rukh.utils.files import check_output, write_json

    check_output(json, data)
    examples = [gold_spans(sentence) for sentence in read_tagged(data)]
    if not any(spans for _, spans in examples):
        raise InputError("holds no entity", where=str(data))
    result = {"data": str(data), "tagger": name, **evaluate_tagger(load_tagger(name), examples)}
    if str(json) != "-":
        types = ", ".join(f"{key} {100 * value:.1f}" for key, value in result["types"].items())
        typer.echo(
            f"{result['entities']:,} entities of {result['sentences']:,} sentences\n"
            f"span F1         {100 * result['span_f1']:.1f} "
            f"(precision {100 * result['span_precision']:.1f}, "
            f"recall {100 * result['span_recall']:.1f}; {types})\n"
            f"typing accuracy {100 * result['typing_accuracy']:.1f} of given spans"
        )
    if json is not None:
        write_json(result, json)


@app.command()
def robustness(
    data: Annotated[Path, typer.Option(help="Labelled posts.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A shipped model, or a folder; by default mnre. Repeatable."),
    ] = None,
    format: options.Format = "jsonl",
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    tagger: options.Tagger = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PERTURBATION", help="Apply this one alone. Repeatable."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures of something else, set beside the posts."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N records.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all random choices.")] = 0,
    json: options.Json = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page (.html) or the plot alone (.png).")
    ] = None,
) -> None:
    """Measure models on posts with noise in words, types, captions, pictures, boxes and order."""
    import shlex
    import sys

    from research.robustness import report as page
    from research.robustness import study as study

    from rukh.cli.warnings import warn_captions, warn_images, warn_types
    from rukh.data.readers import read_posts
    from rukh.evaluation.evaluate import check_labels
    from rukh.extractor import Extractor
    from rukh.utils.files import check_outputs, write_json

    check_outputs((json, report), data, captions, boxes)
    if report is not None:
        page.check_report(report)
    foreign = study.pictures_in(pictures) if pictures is not None else []
    warn_images(images)
    posts = read_posts(data, format, images=images, captions=captions, boxes=boxes, limit=limit)
    loaded = {
        name: Extractor.from_pretrained(name, tagger=tagger)
        for name in dict.fromkeys(model or ["mnre"])
    }
    for name, extractor in loaded.items():
        check_labels(posts, extractor.schema, str(data))
        warn_captions(captions, name, extractor)
    result = {
        "data": str(data),
        **study.robustness(loaded, posts, only=only or (), foreign=foreign, seed=seed),
    }
    warn_types(next(iter(loaded.values())))
    if unread := max(model["unread"] for model in result["models"]):
        typer.echo(
            f"warning: the pictures of {unread:,} of {result['posts']:,} posts are missing or "
            "cannot be read, so nothing befalls them",
            err=True,
        )
    if str(json) != "-":
        typer.echo(
            f"{result['pairs']:,} pairs of {result['posts']:,} posts in {result['seconds']} s\n"
        )
        typer.echo(page.markdown(result), nl=False)
    if json is not None:
        write_json(result, json)
    if report is not None:
        page.write(result, report, shlex.join(["rukh", *sys.argv[1:]]))
