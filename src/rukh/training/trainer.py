"""Training from a configuration, in Python and on the command line alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel

from rukh.config import load_config, parse_config
from rukh.errors import InputError, suggestion
from rukh.utils.files import check_replaceable

if TYPE_CHECKING:
    import torch

    from rukh.training.relation_task import RelationTrainingConfig
    from rukh.training.tagger_task import TaggerConfig

    TaskConfig: TypeAlias = RelationTrainingConfig | TaggerConfig


class Trainer:
    """Trains a relation model or a tagger.

    Args:
        config: A YAML file, its contents as a dictionary, or a
            :class:`~rukh.training.relation_task.RelationTrainingConfig` or
            :class:`~rukh.training.tagger_task.TaggerConfig`.
        out: Folder of the trained model. The checkpoints are kept in ``<out>.run``, from which an
            interrupted run is resumed.
        device: Name of a device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. ``auto``: the first of
            CUDA, MPS and CPU that this machine has.

    Attributes:
        config: The configuration.

    Raises:
        InputError: The configuration is invalid, or ``out`` is neither empty nor a model.

    Example:
        >>> trainer = Trainer("configs/mnre.yaml", "runs/mnre")  # doctest: +SKIP
        >>> trainer.train()["val"]["micro_f1"]  # doctest: +SKIP
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | TaskConfig,
        out: str | Path,
        *,
        device: str | torch.device = "auto",
    ) -> None:
        self.config = config if isinstance(config, BaseModel) else read_training_config(config)
        self._out, self._device = Path(out).absolute(), device
        check_replaceable(self._out)

    def train(self) -> dict[str, Any]:
        """Train the model, or resume the interrupted run, and write it to its folder.

        With several processes (see :mod:`rukh.training.processes`), each trains on a part of every
        batch, and all return when the main process has written the model.

        Returns:
            The metrics: of a relation model ``dev``, ``step`` of the best validation, and ``val``
            if there is a val file; of a tagger ``dev_span_f1``, and ``test_span_f1`` if there are
            test files.

        Raises:
            InputError: The data is invalid, the run belongs to another configuration, there is no
                such device, or a tracker is not installed.
            WeightsError: An encoder or a model that the configuration names is missing.
            MissingDependency: ``accelerate`` is not installed.
        """
        train, _ = _task(self.config.task)
        metrics: dict[str, Any] = train(self.config, self._out, self._device)
        return metrics


def read_training_config(
    source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()
) -> TaskConfig:
    """Read the configuration of a training run.

    Args:
        source: A YAML file, or its contents.
        overrides: Changes to a file, as in :func:`rukh.config.load_config`.

    Raises:
        InputError: The configuration is invalid, or there is no such task.
    """

    def read(model_class: type[BaseModel]) -> Any:
        if isinstance(source, Mapping):
            return parse_config(source, model_class)
        return load_config(source, model_class, overrides)

    class Task(BaseModel):
        task: str

    where = None if isinstance(source, Mapping) else str(source)
    _, config_class = _task(read(Task).task, where)
    config: TaskConfig = read(config_class)
    return config


def _task(
    name: str, where: str | None = None
) -> tuple[Callable[..., dict[str, Any]], type[BaseModel]]:
    """Return the function that trains a task, and the class of its configuration."""
    if name == "relations":
        from rukh.training.relation_task import RelationTrainingConfig, train_relations

        return train_relations, RelationTrainingConfig
    if name == "tagger":
        from rukh.training.tagger_task import TaggerConfig, train_tagger

        return train_tagger, TaggerConfig
    fix = suggestion(name, ["relations", "tagger"])
    raise InputError(f"no task {name!r}", where=where, field="task", fix=fix)
