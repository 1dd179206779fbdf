"""What every tagger keeps: one contract, whoever finds and types; and how names become taggers."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rukh import registry
from rukh.arguments.hf_tagger import HfTagger, Label
from rukh.arguments.label_map import DROPPED, TABLE, argument_type, normalize_label, normalize_types
from rukh.arguments.spacy_tagger import SpacyTagger
from rukh.arguments.tagger import Tagger, fingerprint, load_tagger
from rukh.arguments.token_tagger import TokenTagger
from rukh.errors import InputError, MissingDependency, RukhError, WeightsError
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post

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


class Span:
    """What a spaCy entity shows of itself."""

    def __init__(self, start: int, end: int, label: str) -> None:
        self.start_char, self.end_char, self.label_ = start, end, label


class Doc:
    """Every third word is an entity, with the white space behind it, and labels take turns."""

    def __init__(self, text: str) -> None:
        labels = itertools.cycle(["PERSON", "GPE", "DATE", "NORP", "Drug"])
        starts = [0, *(i + 1 for i, mark in enumerate(text) if mark.isspace()), len(text)]
        spans = [(a, b) for a, b in itertools.pairwise(starts) if a < b]
        self.ents = [Span(a, b, next(labels)) for a, b in spans[::3]]


class Pipeline:
    """Stands in for a spaCy pipeline."""

    def pipe(self, texts: list[str]) -> list[Doc]:
        return [Doc(text) for text in texts]


def classifier(folder: Path, labels: list[str], kind: str = "bert", **changes: Any) -> Path:
    """A tiny random Hugging Face token classifier, to be loaded from a folder."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    from conftest import save_tokenizer

    if kind == "bert":
        size = save_tokenizer(folder)
    else:  # bytes: an emoji is four pieces, which share one character
        marks = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        made = Tokenizer(models.BPE({mark: i for i, mark in enumerate(marks)}, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token="<s>", cls_token="<s>", sep_token="</s>",
            eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        ).save_pretrained(folder)  # fmt: skip
        size = len(marks)
    torch.manual_seed(11)
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=size, num_hidden_layers=1, num_attention_heads=2, hidden_size=16,
        intermediate_size=16, max_position_embeddings=66, initializer_range=1.0,
        id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
        **changes,
    )  # fmt: skip
    transformers.AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    return folder


Make = Callable[[str], Tagger]
KINDS = ["token", "hf-bilou", "hf-io", "hf-bytes", "hf-outside", "spacy-stub", "spacy"]


@pytest.fixture(scope="module")
def make(tiny_text: str, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A tagger of each kind, made once."""
    made: dict[str, Tagger] = {}

    def new(kind: str) -> Tagger:
        folder = tmp_path_factory.mktemp(kind)
        if kind == "token":
            torch.manual_seed(5)
            tagger = TokenTagger(TextEncoder.load(tiny_text), ["PER", "LOC"]).eval()
            torch.nn.init.normal_(tagger.head.weight, std=0.5)
            return tagger
        if kind == "hf-bytes":
            return load_tagger(f"hf:{classifier(folder, BILOU, 'roberta', pad_token_id=1)}")
        if kind.startswith("hf"):
            labels = {"hf-io": IO, "hf-bilou": BILOU, "hf-outside": ["O", "DATE"]}[kind]
            return load_tagger(f"hf:{classifier(folder, labels)}")
        if kind == "spacy-stub":
            return SpacyTagger(Pipeline())
        spacy = pytest.importorskip("spacy")
        pipeline = spacy.blank("xx")
        pipeline.add_pipe("entity_ruler").add_patterns([
            {"label": "PERSON", "pattern": [{"LOWER": {"IN": ["ann", "x" * 10_000]}}]},
            {"label": "FAC", "pattern": [{"LOWER": {"IN": ["oslo", "rome", "boat"]}}]},
        ])  # fmt: skip
        pipeline.to_disk(folder / "pipeline")
        return load_tagger(f"spacy:{folder / 'pipeline'}")

    def get(kind: str) -> Tagger:
        if kind not in made:
            made[kind] = new(kind)
        return made[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_found_is_sound(make: Make, kind: str) -> None:
    tagger = make(kind)
    together = tagger.find(TEXTS)
    assert len(together) == len(TEXTS)
    assert together[:2] == [[], []] and tagger.find([]) == []
    assert any(together) == (kind != "hf-outside")
    for text, found in zip(TEXTS, together, strict=True):
        Post(
            id="p", text=text, entities=tuple(found[:512])
        )  # spans lie in the text, ids are unique
        assert [entity.id for entity in found] == [f"e{i}" for i in range(len(found))]
        for entity in found:
            assert entity.type and entity.type not in {"O", "DATE", "B-PER", "GPE"}
            words = text[entity.start : entity.end]
            assert words and words == words.strip()
        for before, after in itertools.pairwise(found):
            assert before.end <= after.start


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_read_alike_alone_and_with_others(make: Make, kind: str) -> None:
    tagger = make(kind)
    assert tagger.find(TEXTS[:8]) == [tagger.find([text])[0] for text in TEXTS[:8]]


@pytest.mark.parametrize("kind", KINDS)
def test_every_entity_has_a_type_and_given_ones_stay(make: Make, kind: str) -> None:
    tagger = make(kind)
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
    closed = posts[0].model_copy(update={"entities": posts[0].entities[1:2]})
    typed = tagger.type_posts([*posts, closed])
    assert typed[-1] is closed and tagger.type_posts([]) == []
    for post, answer in zip(posts, typed, strict=False):
        assert all(entity.type for entity in answer.entities)
        given = answer.entities[1]
        assert given.type == "GIVEN" and given.type_confidence is None
        sure = [e.type_confidence for e in answer.entities if e is not given]
        assert all(one is not None and 0 <= one <= 1 for one in sure)
        bare: Any = {"entities": {"__all__": {"type", "type_confidence"}}}
        assert answer.model_dump(exclude=bare) == post.model_dump(exclude=bare)


@pytest.mark.parametrize("kind", ["token", "hf-bilou", "hf-bytes"])
def test_a_long_text_is_read_to_its_end(make: Make, kind: str) -> None:
    (found,) = make(kind).find(["Ann Lee, at Acme. " * 600])
    assert found[-1].end > 10_000


def test_labels_become_types() -> None:
    assert {normalize_label(label) for labels in TABLE.values() for label in labels} == set(TABLE)
    assert [normalize_label(x) for x in ("Fac", "work_of_art", "money", "Drug")] == [
        "LOC", "MISC", "NUM", "Drug"
    ]  # fmt: skip
    assert [argument_type(x) for x in ("Fac", "money", "Date", "Drug")] == [
        "LOC",
        None,
        None,
        "Drug",
    ]
    assert Label.parse("o").type is None and Label.parse("o").name == ""
    assert Label.parse("u-Org") == (True, True, "Org", "ORG")
    assert Label.parse("GPE") == (False, False, "GPE", "LOC")
    assert Label.parse("I-TIME") == (False, False, "TIME", None)


def test_the_pages_tell_the_table() -> None:
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for name, labels in TABLE.items():
        told = ", ".join(f"`{label}`" for label in labels)
        dropped = "; found by a tagger, they are dropped" if name in DROPPED else ""
        assert f"| {told} | `{name}`{dropped} |" in page


def test_given_types_become_words_unless_the_schema_speaks_of_them() -> None:
    types = ["PERSON", "date", "CARDINAL", "Drug", None, "ORG"]
    entities = [{"id": str(i), "start": i, "end": i + 1, "type": t} for i, t in enumerate(types)]
    post = Post(id="1", text="abcdef", entities=entities)
    told = normalize_types(post, {"CARDINAL"})
    assert [e.type for e in told.entities] == ["PER", "TIME", "CARDINAL", "Drug", None, "ORG"]
    assert normalize_types(told, {"CARDINAL"}) is told


class Decided(HfTagger):
    """Says the labels that it is told, a word each."""

    said: list[str]

    def label_probabilities(self, texts: Any) -> Any:
        pieces = self.encoder.tokenize(texts[0])
        rows = torch.zeros(len(pieces.ids), len(self.labels))
        for row, name in enumerate(self.said):
            rows[row, BILOU.index(name)] = 0.9
        return [(pieces, rows)]


def test_words_join_into_entities_by_their_labels(tmp_path: Path) -> None:
    tagger = Decided.from_pretrained(classifier(tmp_path, BILOU))
    text = "ann bob cleo dan rome oslo"
    for said, expected in [
        (["B-PER", "I-PER", "L-PER", "I-PER", "U-GPE", "U-GPE"],
         [("ann bob cleo", "PER"), ("dan", "PER"), ("rome", "LOC"), ("oslo", "LOC")]),
        (["I-PER", "B-PER", "O", "I-PER", "B-DATE", "I-DATE"],
         [("ann", "PER"), ("bob", "PER"), ("dan", "PER")]),
        (["B-DATE", "I-PER", "S-ORG", "S-ORG", "B-Drug", "I-drug"],
         [("bob", "PER"), ("cleo", "ORG"), ("dan", "ORG"), ("rome", "Drug"), ("oslo", "drug")]),
    ]:  # fmt: skip
        tagger.said = said
        (found,) = tagger.find([text])
        assert [(text[e.start : e.end], e.type) for e in found] == expected
    # A span's type is that of most label mass: two pieces say PER, one says LOC.
    tagger.said = ["U-GPE", "B-PER", "L-PER", "O", "O", "B-DATE"]
    post = Post(id="p", text=text, entities=[
        {"id": "a", "start": 0, "end": 12}, {"id": "b", "start": 0, "end": 3}])  # fmt: skip
    (typed,) = tagger.type_posts([post])
    assert [entity.type for entity in typed.entities] == ["PER", "LOC"]


def test_spacy_types_a_span_by_what_it_shares_most_of() -> None:
    #      PERSON---            GPE      (the next would be a DATE)
    text = "Ann sees it in Rome now"
    spans = {"ann": (0, 3), "most": (2, 23), "none": (9, 11)}
    post = Post(id="p", text=text, entities=[
        {"id": name, "start": a, "end": b} for name, (a, b) in spans.items()])  # fmt: skip
    (typed,) = SpacyTagger(Pipeline()).type_posts([post])
    found = [(text[e.start_char : e.end_char], e.label_) for e in Doc(text).ents]
    assert found == [("Ann ", "PERSON"), ("in ", "GPE")]
    assert [entity.type for entity in typed.entities] == ["PER", "LOC", "MISC"]


def test_every_built_in_name_resolves() -> None:
    for kind, known in registry.BUILTIN.items():
        for name in known:
            assert callable(registry.resolve(kind, name)), (kind, name)
    assert registry.resolve("taggers", "token") is TokenTagger


def test_names_that_are_no_tagger(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tagger named 'spcy'; did you mean 'spacy'"):
        load_tagger("spcy:en")
    with pytest.raises(WeightsError, match="no model 'nothing'"):
        load_tagger("nothing")
    with pytest.raises(WeightsError, match="no tagger .*rukh weights fetch nobody/nothing"):
        load_tagger("hf:nobody/nothing")
    (tmp_path / "hf").mkdir()
    assert load_error(tmp_path / "hf").startswith("no model")


def load_error(source: object) -> str:
    with pytest.raises(RukhError) as caught:
        load_tagger(str(source))
    return str(caught.value)


def test_what_is_no_token_classifier(tiny_text: str, tmp_path: Path) -> None:
    assert "holds no token classifier: it lacks 'classifier." in load_error(f"hf:{tiny_text}")
    whole = classifier(tmp_path / "whole", IO)
    weights = whole / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:99])
    assert "cannot load a token classifier" in load_error(f"hf:{whole}")
    weights.unlink()
    (whole / "pytorch_model.bin").write_bytes(b"a pickle")
    assert "cannot load a token classifier" in load_error(f"hf:{whole}")


def test_without_spacy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rukh\[spacy\]'"):
        load_tagger("spacy:en_core_web_sm")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A module in spaCy's place, with one installed pipeline, ``en_mine``."""
    module: Any = ModuleType("spacy")
    module.util = ModuleType("spacy.util")
    module.util.is_package = lambda name: name == "en_mine"
    module.util.get_package_path = lambda name: tmp_path / name

    def load(name: object) -> Pipeline:
        if str(name).endswith("broken"):
            raise OSError("[E053]\n no config")
        return Pipeline()

    module.load = load
    monkeypatch.setitem(sys.modules, "spacy", module)
    monkeypatch.setitem(sys.modules, "spacy.util", module.util)
    return module


def test_spacy_pipelines_by_name_and_folder(stub: ModuleType, tmp_path: Path) -> None:
    for where in ("en_mine", tmp_path):
        assert isinstance(load_tagger(f"spacy:{where}"), SpacyTagger)
    assert "python -m spacy download" in load_error("spacy:en_other")
    assert "python -m spacy download" in load_error("spacy")
    (tmp_path / "broken").mkdir()
    assert "spaCy cannot load" in load_error(f"spacy:{tmp_path / 'broken'}")


def test_the_fingerprint_follows_the_files(tmp_path: Path, stub: ModuleType) -> None:
    folder = classifier(tmp_path / "a", IO)
    one = fingerprint(f"hf:{folder}")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= one.keys()
    (folder / "config.json").write_text("{}")
    assert fingerprint(f"hf:{folder}") != one
    assert fingerprint("hf:nobody/nothing") == fingerprint("spcy:x") == {}
    (tmp_path / "en_mine" / "ner").mkdir(parents=True)
    (tmp_path / "en_mine" / "ner" / "model").write_text("weights")
    assert list(fingerprint("spacy:en_mine")) == ["ner/model"]
