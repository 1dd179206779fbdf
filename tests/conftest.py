"""What the tests share."""

from __future__ import annotations

import logging
import os
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from chat_server import Server
    from rukh.modeling.model import RelationModel
    from rukh.records import Post
    from rukh.schema.schema import RelationSchema

CHECKOUT = Path(__file__).parent.parent
WORDS = (
    "the of and in at to is was a person place head tail works lives born moved sees holds near "
    "ann bob cleo dan eve rome oslo kyiv lima cairo acme globex river tower dog cat hat boat "
    "subject object per loc org misc"
)


@pytest.fixture(scope="session")
def rukh_data() -> Path:
    """The folder of public data sets that are not ours; a test that needs it is skipped without."""
    folder = CHECKOUT / os.environ.get("RUKH_DATA", "../shared/data")
    if not folder.is_dir():
        pytest.skip(f"no data under {folder}; set RUKH_DATA")
    return folder


@pytest.fixture(scope="session")
def mnre_images(rukh_data: Path) -> list[Path]:
    """Some images of MNRE."""
    paths = sorted((rukh_data / "mnre" / "images").glob("*/*.jpg"))
    if not paths:
        pytest.skip("no images of MNRE in the data folder")
    return paths


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """A test that runs a command does not change the logging of later tests."""
    yield
    for name in ("rukh", "rukh.training"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.handlers.clear()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the cache of whoever runs it, unless it names one itself.

    Joined weights of the user stay reachable where ``RUKH_CACHE`` is set from outside.
    """
    os.environ.setdefault("RUKH_CACHE", str(tmp_path_factory.mktemp("cache")))


def save_tokenizer(folder: Path) -> int:
    """A WordPiece tokenizer of some two hundred pieces, for any text; returns how many."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    marks = string.ascii_lowercase + string.digits
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.punctuation, *marks]
    pieces += [f"##{mark}" for mark in marks] + WORDS.split()
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Makes a folder with a tiny random text encoder of a kind (``bert``, ``mpnet`` ...)."""
    import torch
    import transformers

    made: dict[str, str] = {}

    def make(kind: str = "bert", **changes: Any) -> str:
        key = f"{kind} {sorted(changes.items())}"
        if key not in made:
            folder = tmp_path_factory.mktemp(kind)
            sizes = {"n_layers": 2, "n_heads": 4, "dim": 32, "hidden_dim": 64}
            if kind != "distilbert":
                sizes = {
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "hidden_size": 32,
                    "intermediate_size": 64,
                }
            sizes |= {"vocab_size": save_tokenizer(folder), "max_position_embeddings": 128}
            torch.manual_seed(7)
            config = transformers.AutoConfig.for_model(kind, **sizes | changes)
            transformers.AutoModel.from_config(config).save_pretrained(folder)
            made[key] = str(folder)
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_text(encoder_folder: Callable[..., str]) -> str:
    """A BERT of two layers, 32 wide, for at most 128 positions."""
    return encoder_folder("bert")


@pytest.fixture(scope="session")
def tiny_mpnet(encoder_folder: Callable[..., str]) -> str:
    """Its like without position ids of the caller's choosing: 126 of its 128 can be used."""
    return encoder_folder("mpnet")


@pytest.fixture(scope="session")
def tiny_vision(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ViT that sees 4 x 4 patches, 16 wide."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(7)
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    return str(folder)


def schema_of(**changes: Any) -> RelationSchema:
    """Four relations with one to three descriptions: symmetric, inverse, one-way, and NOTA."""
    from rukh.schema.schema import RelationSchema

    relations = [
        {"name": "none"},
        {
            "name": "near",
            "descriptions": ["the head is near the tail", "head and tail are in a place"],
            "symmetric": True,
        },
        {
            "name": "works_at",
            "descriptions": ["the head works at the tail"],
            "head": ["PER"],
            "tail": ["ORG"],
            "inverse": "employs",
        },
        {
            "name": "employs",
            "descriptions": ["the tail works at the head"],
            "head": ["ORG"],
            "tail": ["PER"],
        },
        {
            "name": "lives_in",
            "descriptions": ["the head lives in the tail", "a person of a place", "moved to"],
            "head": ["PER"],
            "tail": ["LOC"],
        },
    ]
    data = {"name": "tiny", "relations": relations, "nota": "none", "types": {"PER": "person"}}
    return RelationSchema.parse(data | changes)


@pytest.fixture(scope="session")
def tiny_schema() -> RelationSchema:
    """See :func:`schema_of`."""
    return schema_of()


@pytest.fixture
def posts(tmp_path: Path) -> list[Post]:
    """Text and picture, words alone, objects alone; nested, overlapping and equal spans."""
    from PIL import Image

    from rukh.records import Post

    for i, size in enumerate(((40, 30), (20, 60))):
        noise = Image.effect_noise(size, 60 + i).convert("RGB")
        noise.save(tmp_path / f"{i}.png")
    return [
        Post(
            id="words",
            text="Ann Lee works at Acme of Rome.",
            entities=(
                {"id": "a", "start": 0, "end": 7, "type": "PER"},
                {"id": "org", "start": 17, "end": 29, "type": "ORG"},
                {"id": "r", "start": 25, "end": 29, "type": "LOC"},
            ),
        ),
        Post(
            id="both",
            text="Bob holds a hat",
            image=tmp_path / "0.png",
            entities=({"id": "b", "start": 0, "end": 3, "type": "PER"},),
            objects=(
                {"id": "hat", "box": (0.1, 0.1, 0.4, 0.5), "label": "hat"},
                {"id": "dog", "box": (0.5, 0.2, 0.9, 0.9), "type": "animal"},
            ),
        ),
        Post(
            id="overlap",
            text="Cleo of Oslo of Lima, Cleo",
            entities=(
                {"id": "x", "start": 0, "end": 12, "type": "PER"},
                {"id": "y", "start": 8, "end": 20, "type": "LOC"},
                {"id": "z", "start": 8, "end": 12, "type": "LOC"},
                {"id": "zz", "start": 8, "end": 12, "type": "ORG"},
            ),
        ),
        Post(
            id="picture",
            text="",
            image=tmp_path / "1.png",
            objects=(
                {"id": "o1", "box": (0, 0, 0.3, 0.3)},
                {"id": "o2", "box": (0.2, 0.2, 1, 1), "type": "boat"},
            ),
        ),
        Post(
            id="imagined",
            text="Dan sees a boat",
            entities=({"id": "d", "start": 0, "end": 3, "type": "PER"},),
            objects=({"id": "boat", "box": (0.2, 0.2, 0.8, 0.8), "type": "boat"},),
        ),
    ]


@pytest.fixture
def tiny_model(tiny_text: str, tiny_vision: str, tiny_schema: RelationSchema) -> Any:
    """Makes a model in which no weight is at its first value, so that nothing is the identity."""
    import torch

    from rukh.modeling.model import RelationModel
    from rukh.modeling.model_files import ModelConfig
    from rukh.modeling.pair_encoder import PairConfig
    from rukh.modeling.scorers import RelationConfig

    def make(
        *,
        vision: bool = False,
        relation: dict[str, Any] | None = None,
        schema: RelationSchema = tiny_schema,
        seed: int = 3,
        **pair: Any,
    ) -> RelationModel:
        torch.manual_seed(seed)
        options = {"text_encoder": tiny_text, "dim": 32, "fusion_heads": 4, "trainable_layers": 1}
        options["vision_encoder"] = tiny_vision if vision else None
        config = ModelConfig(
            pair=PairConfig(**options | pair),
            relation=RelationConfig(**relation or {}),
            tagger=None,
            visual_dim=16 if vision else 1,
        )
        model = RelationModel(config, schema).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("pair_encoder.text_encoder.") or "lora" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        return model

    return make


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def rukh(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs ``rukh`` with arguments in this process; returns its exit code and output."""
    from rukh import cli

    def rukh(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rukh", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return rukh


@pytest.fixture
def server() -> Iterator[Server]:
    """A chat server on this machine."""
    from chat_server import Server

    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
