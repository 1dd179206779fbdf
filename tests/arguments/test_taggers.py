"""Tests that every tagger must pass, and tests of loading taggers by name."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from conftest import save_tokenizer
from rukh.arguments.huggingface import HfTagger
from rukh.arguments.sliding_window import Label
from rukh.arguments.spacy_tagger import SpacyTagger
from rukh.arguments.tagger import OpenTagger, Tagger, load_tagger
from rukh.arguments.token_tagger import TokenTagger
from rukh.errors import InputError, MissingDependency, WeightsError
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post
from rukh.registry import fingerprint

BILOU = ["O", "B-PER", "I-PER", "L-PER", "U-GPE", "B-DATE", "I-DATE", "B-Drug", "I-drug", "S-ORG"]
IO = ["O", "PERSON", "location"]
TEXTS = [
    "",
    " \n\t",
    "\u200b",
    "Ann Lee works at Acme in Rome.",
    "🙂🙂 Ann👩‍👩‍👧 at 🏢 Oslo🎸",
    "مرحبا آن في القاهرة",
    "Ann\r\n Lee\r\nat  Acme",
    "e\u0301te\u0301 in Oslo-Rome, #Kyiv @acme",
    "boat " * 2000,
    "x" * 10_000,
]


class StubPipeline:
    """A spaCy pipeline in which every third word, with the space after it, is an entity."""

    def pipe(self, texts: list[str]) -> list[SimpleNamespace]:
        return [SimpleNamespace(ents=self.entities(text)) for text in texts]

    def entities(self, text: str) -> list[SimpleNamespace]:
        labels = itertools.cycle(["PERSON", "GPE", "DATE", "NORP", "Drug"])
        starts = [0, *(i + 1 for i, mark in enumerate(text) if mark.isspace()), len(text)]
        spans = [(a, b) for a, b in itertools.pairwise(starts) if a < b]
        return [
            SimpleNamespace(start_char=a, end_char=b, label_=next(labels)) for a, b in spans[::3]
        ]


def save_byte_tokenizer(folder: Path) -> int:
    """Save a tokenizer of bytes, in which an emoji is four tokens; returns the vocabulary size."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    marks = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({mark: i for i, mark in enumerate(marks)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", sep_token="</s>",
        eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
    ).save_pretrained(folder)  # fmt: skip
    return len(marks)


def save_classifier(folder: Path, labels: list[str], kind: str = "bert") -> Path:
    """Save a tiny random Hugging Face token classifier."""
    import transformers

    size = save_tokenizer(folder) if kind == "bert" else save_byte_tokenizer(folder)
    torch.manual_seed(11)
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=size, num_hidden_layers=1, num_attention_heads=2, hidden_size=16,
        intermediate_size=16, max_position_embeddings=66, initializer_range=1.0,
        pad_token_id=0 if kind == "bert" else 1,
        id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
    )  # fmt: skip
    transformers.AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    return folder


def save_gliner(folder: Path, safe: bool = True) -> Path:
    """Save a tiny random GLiNER model that reads 20 words at a time."""
    import transformers

    gliner = pytest.importorskip("gliner")
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=save_tokenizer(folder / "encoder"), num_hidden_layers=1, num_attention_heads=2,
        hidden_size=16, intermediate_size=16, max_position_embeddings=128, initializer_range=1.0,
        pad_token_id=0,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder / "encoder")
    options = gliner.GLiNERConfig(
        model_name=str(folder / "encoder"), hidden_size=16, max_len=20, max_width=3,
        span_mode="markerV0", num_rnn_layers=0, dropout=0.0,
    )  # fmt: skip
    model = gliner.GLiNER.from_config(options, load_tokenizer=True)
    model.save_pretrained(folder / "gliner", safe_serialization=safe)
    return folder / "gliner"


def token_tagger(folder: Path, tiny_text: str) -> Tagger:
    torch.manual_seed(5)
    tagger = TokenTagger(TextEncoder.load(tiny_text), ["PER", "LOC"]).eval()
    torch.nn.init.normal_(tagger.head.weight, std=0.5)
    return tagger


def spacy_tagger(folder: Path, tiny_text: str) -> Tagger:
    pipeline = pytest.importorskip("spacy").blank("xx")
    pipeline.add_pipe("entity_ruler").add_patterns([
        {"label": "PERSON", "pattern": [{"LOWER": {"IN": ["ann", "x" * 10_000]}}]},
        {"label": "FAC", "pattern": [{"LOWER": {"IN": ["oslo", "rome", "boat"]}}]},
    ])  # fmt: skip
    pipeline.to_disk(folder / "pipeline")
    return load_tagger(f"spacy:{folder / 'pipeline'}")


def hf_tagger(labels: list[str], kind: str = "bert") -> Callable[[Path, str], Tagger]:
    return lambda folder, _: load_tagger(f"hf:{save_classifier(folder, labels, kind)}")


def gliner_tagger(folder: Path, tiny_text: str) -> Tagger:
    return load_tagger(f"gliner:{save_gliner(folder)}")


TAGGERS: dict[str, Callable[[Path, str], Tagger]] = {
    "token": token_tagger,
    "hf-bilou": hf_tagger(BILOU),
    "hf-io": hf_tagger(IO),
    "hf-bytes": hf_tagger(BILOU, "roberta"),
    "hf-no-entities": hf_tagger(["O"]),
    "spacy-stub": lambda *_: SpacyTagger(StubPipeline()),
    "spacy": spacy_tagger,
    "gliner": gliner_tagger,
}


@pytest.fixture(scope="module", params=TAGGERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tagger(name: str, tiny_text: str, tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    return TAGGERS[name](tmp_path_factory.mktemp(name), tiny_text)


def test_detected_entities_are_valid(tagger: Tagger, name: str) -> None:
    detected = tagger.detect_entities(TEXTS)
    assert len(detected) == len(TEXTS)
    assert detected[:2] == [[], []] and tagger.detect_entities([]) == []
    assert any(detected) == (name != "hf-no-entities")
    for text, entities in zip(TEXTS, detected, strict=True):
        Post(id="p", text=text, entities=tuple(entities[:512]))  # validates the spans
        assert [entity.id for entity in entities] == [f"e{i}" for i in range(len(entities))]
        for entity in entities:
            assert entity.type and entity.type not in {"O", "DATE", "B-PER", "GPE"}
            words = text[entity.start : entity.end]
            assert words and words == words.strip()
        for before, after in itertools.pairwise(entities):
            assert before.end <= after.start


def test_texts_are_independent(tagger: Tagger) -> None:
    texts = TEXTS[:8]
    assert tagger.detect_entities(texts) == [tagger.detect_entities([x])[0] for x in texts]


def test_long_text_is_read_to_its_end(tagger: Tagger, name: str) -> None:
    (entities,) = tagger.detect_entities(["Ann Lee, at Acme. " * 600])
    assert name in ("hf-no-entities", "hf-io") or entities[-1].end > 10_000


def test_types_are_assigned_where_missing(tagger: Tagger) -> None:
    posts = [
        Post(id=str(i), text=text, image=b"x", objects=({"id": "o", "box": (0, 0, 1, 1)},),
             entities=(
                {"id": "whole", "start": 0, "end": len(text)},
                {"id": "given", "start": 0, "end": 1, "type": "GIVEN"},
                {"id": "end", "start": len(text.rstrip()) - 1, "end": len(text.rstrip())},
             ))
        for i, text in enumerate(TEXTS)
        if text.strip()
    ]  # fmt: skip
    complete = posts[0].model_copy(update={"entities": posts[0].entities[1:2]})
    typed = tagger.assign_types([*posts, complete])
    assert typed[-1] is complete and tagger.assign_types([]) == []
    for before, after in zip(posts, typed, strict=False):
        whole, given, end = after.entities
        assert whole.type and end.type
        assert all(0 <= (one.type_confidence or 0) <= 1 for one in (whole, end))
        assert given == before.entities[1]
        types: Any = {"entities": {"__all__": {"type", "type_confidence"}}}
        assert after.model_dump(exclude=types) == before.model_dump(exclude=types)


def test_label_parse() -> None:
    assert Label.parse("o") == (False, False, "", None)
    assert Label.parse("u-Org") == (True, True, "Org", "ORG")
    assert Label.parse("GPE") == (False, False, "GPE", "LOC")
    assert Label.parse("I-DATE") == (False, False, "DATE", "TIME")


TEXT = "ann bob cleo dan rome oslo"


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], HfTagger]:
    """Makes a tagger that predicts the given labels for the words of TEXT."""
    folder = save_classifier(tmp_path_factory.mktemp("hf"), BILOU)

    def make(labels: list[str]) -> HfTagger:
        tagger = HfTagger.from_pretrained(folder)
        probabilities = torch.zeros(len(labels), len(BILOU))
        probabilities[range(len(labels)), [BILOU.index(label) for label in labels]] = 0.9
        predicted = tagger.encoder.tokenize(TEXT), probabilities
        tagger.classify = lambda texts: [predicted]  # type: ignore[method-assign]
        return tagger

    return make


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["B-PER", "I-PER", "L-PER", "I-PER", "U-GPE", "U-GPE"],
         [("ann bob cleo", "PER"), ("dan", "PER"), ("rome", "LOC"), ("oslo", "LOC")]),
        (["I-PER", "B-PER", "O", "I-PER", "B-DATE", "I-DATE"],
         [("ann", "PER"), ("bob", "PER"), ("dan", "PER"), ("rome oslo", "TIME")]),
        (["B-DATE", "I-PER", "S-ORG", "S-ORG", "B-Drug", "I-drug"],
         [("ann", "TIME"), ("bob", "PER"), ("cleo", "ORG"), ("dan", "ORG"), ("rome", "Drug"),
          ("oslo", "drug")]),
    ],
)  # fmt: skip
def test_words_are_joined_by_their_labels(
    predict: Callable[[list[str]], HfTagger], labels: list[str], expected: list[tuple[str, str]]
) -> None:
    (entities,) = predict(labels).detect_entities([TEXT])
    assert [(TEXT[e.start : e.end], e.type) for e in entities] == expected


def test_type_of_a_span_has_most_probability(predict: Callable[[list[str]], HfTagger]) -> None:
    post = Post(id="p", text=TEXT, entities=[
        {"id": "a", "start": 0, "end": 12}, {"id": "b", "start": 0, "end": 3}])  # fmt: skip
    (typed,) = predict(["U-GPE", "B-PER", "L-PER", "O", "O", "B-DATE"]).assign_types([post])
    assert [entity.type for entity in typed.entities] == ["PER", "LOC"]


def test_gliner_detects_the_types_of_a_schema(tmp_path: Path) -> None:
    tagger = load_tagger(f"gliner:{save_gliner(tmp_path)}")
    assert isinstance(tagger, OpenTagger)
    asked = tagger.with_types({"company": "firm", "PER": "person"})
    types = {e.type for found in asked.detect_entities(["Ann Lee works at Acme"]) for e in found}
    assert types and types <= {"company", "PER"}


def test_gliner_models_without_safetensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="safetensors"):
        load_tagger(f"gliner:{save_gliner(tmp_path, safe=False)}")
    with pytest.raises(WeightsError, match="GLiNER"):
        load_tagger(f"gliner:{save_classifier(tmp_path / 'hf', IO)}")
    (tmp_path / "gliner/model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot load"):
        load_tagger(f"gliner:{tmp_path / 'gliner'}")


def test_spacy_type_of_a_span_has_most_overlap() -> None:
    text = "Ann sees it in Rome now"
    entities = StubPipeline().entities(text)
    assert [(text[e.start_char : e.end_char], e.label_) for e in entities] == [
        ("Ann ", "PERSON"), ("in ", "GPE")
    ]  # fmt: skip
    spans = {"ann": (0, 3), "most": (2, 23), "none": (9, 11)}
    post = Post(id="p", text=text, entities=[
        {"id": name, "start": a, "end": b} for name, (a, b) in spans.items()])  # fmt: skip
    (typed,) = SpacyTagger(StubPipeline()).assign_types([post])
    assert [entity.type for entity in typed.entities] == ["PER", "LOC", "MISC"]


@pytest.mark.parametrize(
    ("source", "error", "part"),
    [
        ("spcy:en", InputError, "'spacy'"),
        ("nothing", WeightsError, "'nothing'"),
        ("hf:nobody/nothing", WeightsError, "weights fetch nobody/nothing"),
        ("{tmp}/hf", WeightsError, "hf"),
        ("hf:{tiny}", WeightsError, "classifier."),
        ("hf:{tmp}/truncated", WeightsError, "AutoModelForTokenClassification"),
        ("hf:{tmp}/pickle", WeightsError, "AutoModelForTokenClassification"),
    ],
)
def test_sources_without_a_tagger(
    source: str, error: type[Exception], part: str, tmp_path: Path, tiny_text: str
) -> None:
    (tmp_path / "hf").mkdir()
    for name in ("truncated", "pickle"):
        weights = save_classifier(tmp_path / name, IO) / "model.safetensors"
        if name == "truncated":
            weights.write_bytes(weights.read_bytes()[:99])
        else:
            weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(error, match=part):
        load_tagger(source.format(tmp=tmp_path, tiny=tiny_text))


def test_missing_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingDependency) as caught:
        load_tagger("spacy:en_core_web_sm")
    assert caught.value.extra == "spacy"


@pytest.fixture
def spacy_stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace spaCy by a module with one installed pipeline, ``en_mine``."""
    spacy: Any = ModuleType("spacy")
    spacy.util = ModuleType("spacy.util")
    spacy.util.is_package = lambda name: name == "en_mine"
    spacy.util.get_package_path = lambda name: tmp_path / name

    def load(name: object) -> StubPipeline:
        if str(name).endswith("broken"):
            raise OSError("[E053]\n no config")
        return StubPipeline()

    spacy.load = load
    monkeypatch.setitem(sys.modules, "spacy", spacy)
    monkeypatch.setitem(sys.modules, "spacy.util", spacy.util)


@pytest.mark.usefixtures("spacy_stub")
def test_spacy_pipelines_by_name_and_folder(tmp_path: Path) -> None:
    for source in ("en_mine", tmp_path):
        assert isinstance(load_tagger(f"spacy:{source}"), SpacyTagger)
    (tmp_path / "broken").mkdir()
    for source in ("spacy:en_other", "spacy", f"spacy:{tmp_path / 'broken'}"):
        with pytest.raises(WeightsError):
            load_tagger(source)


@pytest.mark.usefixtures("spacy_stub")
def test_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "a", IO)
    before = fingerprint("taggers", f"hf:{folder}")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= before.keys()
    (folder / "config.json").write_text("{}")
    assert fingerprint("taggers", f"hf:{folder}") != before
    assert fingerprint("taggers", "hf:nobody/nothing") == fingerprint("taggers", "spcy:x") == {}
    (tmp_path / "en_mine" / "ner").mkdir(parents=True)
    (tmp_path / "en_mine" / "ner" / "model").write_text("weights")
    assert list(fingerprint("taggers", "spacy:en_mine")) == ["ner/model"]
