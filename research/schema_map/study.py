"""A map of a schema's relations: their mean embeddings, projected to two dimensions.

Two dimensions show only a part of the distances, so the map also lists each relation's nearest
neighbours in the full space.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rukh.errors import InputError, MissingDependency
from rukh.schema.schema import RelationSchema
from rukh.schema.similarity import Embed, SchemaEmbedding, embed_schema
from rukh.utils.files import atomic_open, write_json

FORMATS = (".png", ".svg", ".json")
"""File name endings that :func:`save` accepts."""


def project(points: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Project points to their first two principal components.

    Args:
        points: ``(R, d)``.

    Returns:
        ``(R, 2)`` coordinates, and the fraction of the variance that they explain.

    Example:
        >>> coordinates, explained = project(np.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]))
        >>> abs(coordinates[:, 0]).round(6).tolist(), round(explained, 6)
        ([2.0, 1.0, 3.0], 1.0)
    """
    from sklearn.decomposition import PCA

    coordinates = np.zeros((len(points), 2))
    if np.ptp(points, axis=0).max() == 0:  # one point, or equal points
        return coordinates, 1.0
    components = min(2, *points.shape)
    pca = PCA(components, svd_solver="full")
    coordinates[:, :components] = pca.fit_transform(np.asarray(points, dtype=np.float64))
    return coordinates, float(pca.explained_variance_ratio_.sum())


def schema_map(schema: RelationSchema, embed: Embed, neighbours: int = 3) -> dict[str, Any]:
    """Coordinates and nearest neighbours of a schema's relations, as plain data.

    Args:
        schema: The relations.
        embed: Maps texts to unit vectors.
        neighbours: How many of the nearest relations to list for each relation.

    Returns:
        ``schema``; ``explained_variance``, the fraction of the variance that the map shows; and
        ``relations``, each with ``name``, ``label`` (its words, or the name if several relations
        have the same words), ``head``, ``tail``, ``x``, ``y`` and ``nearest``, a list of
        mappings: the neighbour's ``name``; the ``cosine`` of the two centroids; and the two
        ``texts`` that are ``closest``, the neighbour's last, with their cosine.
    """
    table = embed_schema(schema, embed)
    coordinates, explained = project(table.centroids)
    counts = Counter(relation.label_words for relation in table.relations)
    rows = [
        {
            "name": relation.name,
            "label": relation.label_words if counts[relation.label_words] == 1 else relation.name,
            "head": list(relation.head),
            "tail": list(relation.tail),
            "x": round(float(coordinates[i, 0]), 4),
            "y": round(float(coordinates[i, 1]), 4),
            "nearest": [_neighbour(table, i, k) for k in table.nearest(i, neighbours)],
        }
        for i, relation in enumerate(table.relations)
    ]
    return {"schema": schema.name, "explained_variance": round(explained, 4), "relations": rows}


def _neighbour(table: SchemaEmbedding, first: int, second: int) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(table.owner == index) for index in (first, second))
    cosines = table.vectors[rows] @ table.vectors[columns].T
    i, j = np.unravel_index(int(cosines.argmax()), cosines.shape)
    return {
        "name": table.relations[second].name,
        "cosine": round(float(table.centroids[first] @ table.centroids[second]), 4),
        "closest": round(float(cosines[i, j]), 4),
        "texts": (table.texts[rows[i]], table.texts[columns[j]]),
    }


def save(data: dict[str, Any], path: Path) -> None:
    """Write a map as an image (PNG or SVG) or as JSON, depending on the file name's ending.

    Raises:
        InputError: The ending is not one of :data:`FORMATS`, or the file cannot be written.
        MissingDependency: An image was asked for, and matplotlib is not installed.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path.name!r} does not end in {', '.join(FORMATS)}", where=str(path))
    if ending == ".json":
        write_json(data, path)
    else:
        _draw(data, path, ending[1:])


def _draw(data: dict[str, Any], path: Path, image_format: str) -> None:
    """Plot the relations; relations with the same argument types have the same colour."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("matplotlib", "dev") from None
    rows = data["relations"]
    signatures = [(*row["head"], "", *row["tail"]) for row in rows]
    colours = [sorted(set(signatures)).index(signature) for signature in signatures]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter([row["x"] for row in rows], [row["y"] for row in rows], c=colours, cmap="tab20")
    for row in rows:
        axes.annotate(
            row["label"],
            (row["x"], row["y"]),
            (0, 6),
            textcoords="offset points",
            ha="center",
            parse_math=False,  # a dollar sign in a label is not mathematics
        )
    axes.margins(0.12)
    explained = f"{100 * data['explained_variance']:.0f} % of the variance"
    axes.set_title(f"Relations of {data['schema']}: {explained}", parse_math=False)
    with atomic_open(path, "wb") as stream:
        figure.savefig(stream, format=image_format, dpi=120)
