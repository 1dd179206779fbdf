"""A frozen language model that is asked about a text, and answers with the state of a layer.

A post is read once for all questions about it: the questions follow the text side by side, each
sees the text and itself but no other, and several posts stand in one sequence without padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from rukh.errors import InputError, MissingDependency, RukhError

Precision: TypeAlias = Literal["int8", "fp32"]
"""Of the matrix products: in whole numbers, states are near those in single precision and come
sooner where the processor has no bfloat16; ``python -m benchmarks`` tells by how much."""

OPENING = "Tweet:"
"""What stands before every text. It is read once and in single precision: the first tokens of a
sequence take states so large that whole numbers could hold nothing beside them."""

Group: TypeAlias = list[tuple[list[int], list[list[int]]]]
"""Token ids of texts, each with those of questions about it, that are read in one pass."""

_GGUF = "model.gguf"
_MOST_TEXT = 160  # tokens of a text
_PACKED = 400  # tokens a pass, beyond which attention over other posts' tokens costs too much


def model_files(folder: Path) -> list[Path]:
    """The files that decide what a language model says.

    Raises:
        InputError: The folder holds no model.
        MissingDependency: It holds a GGUF file, and the package gguf is not installed.
    """
    if (folder / _GGUF).is_file():
        if find_spec("gguf") is None:  # transformers reads the file by it
            raise MissingDependency("gguf", "language")
        return [folder / _GGUF]
    files = [folder / name for name in ("model.safetensors", "config.json", "tokenizer.json")]
    if lacking := [file.name for file in files if not file.is_file()]:
        raise InputError(
            f"holds no {_GGUF}, and no {lacking[0]} either",
            where=str(folder),
            fix="run: python tests/llm/setup.py FOLDER",
        )
    return files


class Asked(NamedTuple):
    """A text and questions about it.

    Attributes:
        text: It follows the model's opening.
        questions: Of each the parts, tokenized apart, so that a name is read alike everywhere.
    """

    text: str
    questions: tuple[tuple[str, ...], ...]


class LanguageModel:
    """A causal language model up to one of its layers.

    Args:
        decoder: The layers, such as transformers' ``Qwen2Model``; those above ``layer`` are cut.
        tokenizer: Of the model.
        layer: After which layer states are read, from 1.
    """

    def __init__(self, decoder: Any, tokenizer: Any, layer: int) -> None:
        if not 1 <= layer <= len(decoder.layers):
            raise InputError(f"the model has {len(decoder.layers)} layers, not {layer}")
        decoder.layers = decoder.layers[:layer]
        decoder.config.num_hidden_layers = layer
        decoder.norm = nn.Identity()  # what the last layer says is read as it is
        self.decoder, self.tokenizer = decoder.eval(), tokenizer
        from transformers import DynamicCache

        cache = DynamicCache()
        ids = self._ids(OPENING)
        with torch.inference_mode():
            decoder(torch.tensor([ids]), past_key_values=cache, use_cache=True)
        self._opened = [(one.keys.clone(), one.values.clone()) for one in cache.layers]
        self._length = len(ids)

    @classmethod
    def load(cls, folder: Path, layer: int) -> LanguageModel:
        """Read ``model.gguf``, or a model in the form of the Hugging Face hub, from a folder.

        Raises:
            InputError: There is none, it cannot be read, or it has no such layer.
            MissingDependency: A GGUF file, and the package gguf is not installed.
        """
        import transformers

        told: dict[str, Any] = {}
        form: dict[str, Any] = {"use_safetensors": True}
        if model_files(folder)[0].name == _GGUF:
            told = {"gguf_file": _GGUF}
            form = {"quantization_config": transformers.GgufConfig(**told, dequantize=True)}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, **told
            )
            whole = transformers.AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, **told, **form
            )
            return cls(whole.model, tokenizer, layer)
        except RukhError as error:
            raise InputError(str(error), where=str(folder)) from None
        except Exception as error:  # whatever a damaged file does to whoever reads it
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"cannot read the language model: {lines[0]}", where=str(folder)
            ) from None

    def quantize(self, sample: Sequence[Asked]) -> None:
        """Multiply in whole numbers from now on.

        Args:
            sample: Some texts and questions, by which each input's range is known.
        """
        if "fbgemm" in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = "fbgemm"
        ranges: dict[str, Tensor] = {}

        def note(name: str, value: Tensor) -> None:
            top = value.flatten(0, -2).abs().amax(0)
            ranges[name] = torch.maximum(ranges.get(name, top), top)

        linears = [(n, m) for n, m in self.decoder.named_modules() if isinstance(m, nn.Linear)]
        hooks = [
            linear.register_forward_pre_hook(lambda _, given, name=name: note(name, given[0]))
            for name, linear in linears
        ]
        self.read(sample)
        for hook in hooks:
            hook.remove()
        for name, linear in linears:
            parent, _, own = name.rpartition(".")
            setattr(self.decoder.get_submodule(parent), own, _Int8Linear(linear, ranges[name]))

    def read(self, asked: Sequence[Asked]) -> Tensor:
        """The state at the last token of every question of every text, ``(Q, D)``."""
        return torch.cat([self._read(group) for group in self._packed(asked)])

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _packed(self, asked: Iterable[Asked]) -> list[Group]:
        groups: list[Group] = []
        room = 0
        for one in asked:
            text = self._ids(" " + one.text.strip())[:_MOST_TEXT]
            questions: list[list[int]] = []
            for question in one.questions:
                ids = [token for part in question for token in self._ids(part)]
                size = len(ids) + (0 if questions else len(text))
                if not groups or size >= room:
                    # A post with many pairs is read again in the next group.
                    groups.append([])
                    questions, size, room = [], len(text) + len(ids), _PACKED
                if not questions:
                    groups[-1].append((text, questions))
                questions.append(ids)
                room -= size
        return groups

    def _read(self, group: Group) -> Tensor:
        """States ``(Q, D)`` of all questions of a group."""
        from transformers import DynamicCache

        ids: list[int] = []
        places: list[int] = []
        post: list[int] = []
        question: list[int] = []
        last: list[int] = []
        for number, (text, questions) in enumerate(group):
            for own, part in enumerate([text, *questions]):
                first = self._length + (len(text) if own else 0)
                ids += part
                places += range(first, first + len(part))
                post += [number] * len(part)
                question += [own] * len(part)
                if own:
                    last.append(len(ids) - 1)
        of, which = torch.tensor(post), torch.tensor(question)
        seen = (of[:, None] == of) & ((which == 0) | (which[:, None] == which))
        seen &= torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        hidden = torch.zeros(len(ids), self._length + len(ids))
        hidden[:, self._length :].masked_fill_(~seen, torch.finfo(hidden.dtype).min)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self._opened):
            cache.update(keys, values, layer)
        with torch.inference_mode():
            out = self.decoder(
                torch.tensor([ids]),
                attention_mask=hidden[None, None],
                position_ids=torch.tensor([places]),
                past_key_values=cache,
                use_cache=True,
            )
        state: Tensor = out.last_hidden_state
        return state[0, last].clone()


class _Int8Linear(nn.Module):
    """A linear map in whole numbers, each token with a scale of its own.

    The product itself knows one scale for all tokens, so each is brought to the same size first.
    What inputs have in large columns, weights take over (SmoothQuant; Xiao et al., ICML 2023).

    Args:
        linear: The map.
        ranges: ``(D,)`` the largest size of each input.
    """

    def __init__(self, linear: nn.Linear, ranges: Tensor) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        own = weight.abs().amax(0).clamp(min=1e-5)
        smooth = (ranges.clamp(min=1e-5).sqrt() / own.sqrt()).clamp(1e-3, 1e3)
        self.shrink = 1 / smooth
        self.bias = None if linear.bias is None else linear.bias.detach().float()
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        plain.weight.data = weight * smooth
        quantization = torch.ao.quantization
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to give these names up one day
            kind = {nn.Linear: quantization.per_channel_dynamic_qconfig}
            quantized = quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                nn.Sequential(plain), kind
            )
        self.product = quantized[0]

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., E)``."""
        x = x * self.shrink
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-8)
        out: Tensor = self.product(x / scale) * scale
        return out if self.bias is None else out + self.bias
