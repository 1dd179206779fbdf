"""The visual probe: disjoint splits, labels that no text gives away, controls, and the study."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from research.probe import make, study, texts
from research.probe.__main__ import app
from research.probe.cutouts import (
    SPLITS,
    SUBJECTS,
    Assets,
    Cutout,
    Cutouts,
    Split,
    find_assets,
    groups,
    split_of,
)
from research.probe.posts import (
    AGREES,
    AT_EVENTS,
    POSITIONS,
    RELATIONS,
    SHARED_IMAGES,
    TRACKS,
    Probe,
    _standing,
    write_probe,
)
from research.probe.scenes import Placed, compose, frame_at, scene_size, slots
from typer.testing import CliRunner

from rukh.data.readers import read
from rukh.errors import InputError
from rukh.modeling.regions import box_relation
from rukh.records import Pair, Post, TextEntity, Triple, VisualObject, to_mention
from rukh.schema.schema import RelationSchema

SCHEMA = RelationSchema.load("probe")
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def assets() -> Iterator[Assets]:
    """Where the real cut-outs are; tests that need them are skipped if they were not fetched."""
    fetched = Path("~/.cache/rukh/stamps").expanduser()  # the tests' own cache is empty
    with pytest.MonkeyPatch.context() as patch:
        if "RUKH_STAMPS" not in os.environ and fetched.is_dir():
            patch.setenv("RUKH_STAMPS", str(fetched))
        try:
            yield find_assets()
        except InputError as error:
            pytest.skip(str(error))


@given(st.sets(st.text(min_size=1, max_size=8), min_size=12, max_size=80))
def test_splits_are_disjoint_and_complete(names: set[str]) -> None:
    cutouts = [[Cutout("animal", name)] for name in sorted(names)]
    parts = [split_of(cutouts, split) for split in SPLITS]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(names)
    assert abs(len(parts[0]) - 0.6 * len(names)) <= 0.5
    assert [split_of(cutouts[::-1], split) for split in SPLITS] == parts


def test_real_cutouts_are_enough_and_not_shared(assets: Assets) -> None:
    assert set(SUBJECTS) == {*RELATIONS, "person"}
    for subject in SUBJECTS:
        parts = [{c.name for c in split_of(groups(assets, subject), split)} for split in SPLITS]
        assert all(parts) and not any(a & b for a, b in itertools.combinations(parts, 2))
    cutouts = Cutouts(assets, "test")
    for some in cutouts.of.values():
        image = cutouts.load(some[0])
        assert image.mode == "RGBA" and image.getextrema()[3][1] == 255


def test_every_label_is_in_the_schema() -> None:
    for label in (*RELATIONS.values(), *AT_EVENTS.values(), *POSITIONS, *texts.STATED):
        SCHEMA.resolve(label, "probe")
    assert set(texts.STATED) == set(RELATIONS.values())
    assert all(len(SCHEMA.relation(name).descriptions) >= 3 for name in SCHEMA.names)


def test_no_name_is_shared_between_splits() -> None:
    for table in (texts.FIRST, texts.ONSETS):
        words = [word for split in SPLITS for word in table[split].split()]
        assert len(words) == len(set(words))
    # No onset starts with one of another split, so that a made-up name belongs to one split.
    split_of_onset = {onset: split for split in SPLITS for onset in texts.ONSETS[split].split()}
    for a, b in itertools.product(split_of_onset, repeat=2):
        assert split_of_onset[a] == split_of_onset[b] or not (a + "aby").startswith(b)


@given(SEEDS, st.sampled_from([texts.NEUTRAL, texts.BESIDE]))
def test_spans_cover_the_names(seed: int, cores: tuple[str, ...]) -> None:
    random = np.random.default_rng(seed)
    names = {role: texts.person(random, "val") for role in "ABT"}
    text, spans = texts.sentence(random, cores, names)
    assert len(spans) == 2 and "{" not in text
    assert all(text[a:b] == names[role] for role, (a, b) in spans.items())


@given(SEEDS, st.sampled_from(POSITIONS))
def test_boxes_are_in_the_labelled_position(seed: int, label: str) -> None:
    head, tail = _standing(np.random.default_rng(seed), label)
    for x1, y1, x2, y2 in (head, tail):
        assert -1e-9 <= x1 < x2 <= 1 + 1e-9 and -1e-9 <= y1 < y2 <= 1 + 1e-9
    features = box_relation(torch.tensor([head]), torch.tensor([tail]))[0].tolist()
    right, down, _, _, overlap, of_head, of_tail = features
    if label in ("inside", "contains"):
        assert (of_head if label == "inside" else of_tail) > 0.999
    else:
        along, across = (right, down) if label in ("left_of", "right_of") else (down, right)
        assert (along > 0) == (label in ("left_of", "above"))
        assert abs(across) < abs(along) and overlap < 1e-6


@given(SEEDS)
def test_slots_are_in_different_quarters(seed: int) -> None:
    frames = slots(np.random.default_rng(seed))
    quarters = {(round((f[0] + f[2]) / 2), round((f[1] + f[3]) / 2)) for f in frames}
    assert len(quarters) == 4 and all(0 <= side <= 1 for f in frames for side in f)


def test_the_seed_decides_a_scene() -> None:
    def make_scene(seed: int) -> tuple[bytes, list[Any]]:
        random = np.random.default_rng(seed)
        red = Image.new("RGBA", (80, 50), (255, 0, 0, 255))
        things = [Placed(red, frame_at(random, (0.2, 0.7), 0.3))]
        return compose(random, scene_size(random), things)

    for seed in range(8):
        data, boxes = make_scene(seed)
        assert (data, boxes) == make_scene(seed) and data != make_scene(seed + 100)[0]
        image = Image.open(io.BytesIO(data))
        assert 200 < min(image.size) <= max(image.size) < 350
        ((x1, y1, x2, y2),) = boxes
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        centre = int((x1 + x2) / 2 * image.width), int((y1 + y2) / 2 * image.height)
        red, green, blue = image.getpixel(centre)  # type: ignore[misc]
        assert red > 150 and green < 110 and blue < 110


def test_posts_do_not_depend_on_earlier_calls(assets: Assets) -> None:
    cutouts = Cutouts(assets, "val")
    for track in (*TRACKS, AGREES):
        first = list(Probe(cutouts, "val", 3).posts(track, 3))
        other = Probe(cutouts, "val", 3)
        list(other.posts("picture_misleads", 2))
        assert first == list(other.posts(track, 3))
        assert first != list(Probe(cutouts, "val", 4).posts(track, 3))


def test_text_does_not_depend_on_the_label(assets: Assets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another subject in the same image of ``whole_image`` leaves the text as it is."""
    cutouts = Cutouts(assets, "val")
    before = list(Probe(cutouts, "val", 5).posts("whole_image", 12))
    monkeypatch.setattr(
        Probe, "_image", lambda self, number: (b"other", list(RELATIONS)[number % 7])
    )
    after = list(Probe(cutouts, "val", 5).posts("whole_image", 12))
    assert [post.text for post in before] == [post.text for post in after]
    assert [post.pairs for post in before] != [post.pairs for post in after]


def test_labels_are_balanced(assets: Assets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "research.probe.posts.compose",
        lambda random, size, things: (b"", [thing.frame for thing in things]),
    )
    probe = Probe(Cutouts(assets, "test"), "test", 2)
    counts = {
        track: Counter(p.relation for post in probe.posts(track, 600) for p in post.pairs or ())
        for track in TRACKS
    }
    for track in ("whole_image", "one_region", "position", "picture_misleads"):
        num_labels = 6 if track == "position" else 7
        shares = [count / counts[track].total() for count in counts[track].values()]
        assert len(shares) == num_labels and max(shares) < 1.4 / num_labels
    assert 0.47 < counts["object_argument"]["none"] / counts["object_argument"].total() < 0.53
    for post in probe.posts("one_region", 60):
        assert len({pair.relation for pair in post.pairs or ()}) > 1
    for post in probe.posts("picture_misleads", 30):
        _, subject = probe._image(int(post.id.rsplit("-", 1)[1]))
        assert post.pairs and post.pairs[0].relation != RELATIONS[subject]


def test_written_posts_are_read_back(assets: Assets, tmp_path: Path) -> None:
    sizes = {split: dict.fromkeys((*TRACKS, AGREES), 2) for split in SPLITS}
    for name in ("a", "b"):
        assert write_probe(tmp_path / name, 1, sizes) == dict.fromkeys(SPLITS, 12)
    for split in SPLITS:
        files = [tmp_path / name / f"{split}.jsonl" for name in ("a", "b")]
        assert files[0].read_bytes() == files[1].read_bytes()
        for post in read(files[0], "jsonl"):
            assert isinstance(post.image, Path) and post.image.is_file()


def make_post(number: int, num_objects: int) -> Post:
    """A post whose image and boxes encode its number."""
    boxes = [(0.1 * i, number / 10, 0.1 * i + 0.1, number / 10 + 0.1) for i in range(num_objects)]
    return Post(
        id=str(number),
        text="Ann",
        image=bytes([number]),
        entities=(TextEntity(id="A", start=0, end=3),),
        objects=tuple(VisualObject(id=f"o{i}", box=box) for i, box in enumerate(boxes)),
        pairs=(Pair(head="o0", tail="o1", relation="left_of" if number % 2 else "above"),),
    )


def boxes_of(post: Post) -> list[Any]:
    return [thing.box for thing in post.objects]


def test_shuffling_gives_every_post_another_image() -> None:
    posts = [make_post(i, 2) for i in range(8)]
    for post, other in zip(posts, study.shuffled(posts, 0), strict=True):
        assert (post.id, post.pairs) == (other.id, other.pairs) and post.image != other.image
        assert isinstance(other.image, bytes)
        assert boxes_of(other) == boxes_of(make_post(other.image[0], 2))
    for post, other in zip(posts, study.boxes_shuffled(posts, 0), strict=True):
        assert post.image == other.image and post.objects[0].box != other.objects[0].box
    boxes = boxes_of(make_post(3, 3))
    (other,) = study.boxes_shuffled([make_post(3, 3)], 0)
    assert boxes_of(other) == [boxes[1], boxes[2], boxes[0]]


def test_without_its_image_a_post_has_no_boxes() -> None:
    post = make_post(1, 3)
    without = study.without_image(post)
    assert without.image is None and set(boxes_of(without)) == {study.WHOLE}
    boxes_only = study.boxes_only(post)
    assert boxes_only.image is None and boxes_only.objects == post.objects


class FakeExtractor:
    """Predicts by the image's number: correct if a post has its own image."""

    schema = SCHEMA

    def predict(self, post: Post, pair: Pair) -> str:
        odd = isinstance(post.image, bytes) and post.image[0] % 2
        forward, backward = ("left_of", "right_of") if odd else ("above", "below")
        return forward if pair.head == "o0" else backward

    def stream(self, posts: Iterable[Post]) -> Iterator[list[Triple]]:
        for post in posts:
            yield [
                Triple(
                    post_id=post.id,
                    head=to_mention(post.argument(pair.head), post.text),
                    tail=to_mention(post.argument(pair.tail), post.text),
                    relation=self.predict(post, pair),
                    score=1.0,
                    gate=0.5,
                )
                for pair in post.pairs or ()
            ]


def test_a_pair_is_correct_only_in_both_orders() -> None:
    posts = [make_post(i, 2) for i in range(8)]
    extractor: Any = FakeExtractor()
    scores = study.score(extractor, posts)
    assert scores.accuracy == 1.0 and scores.gate == 0.5 and len(scores.correct) == 8
    assert study.score(extractor, [study.without_image(p) for p in posts]).accuracy == 0.5
    pairs = (Pair(head="o0", tail="o1", relation="contains"),)
    wrong = [post.model_copy(update={"pairs": pairs}) for post in posts]
    assert study.score(extractor, wrong).accuracy == 0.0


def test_tracks_with_shared_images_are_made_first(assets: Assets) -> None:
    cutouts = Cutouts(assets, "val")
    tracks = dict(study._generate(Probe(cutouts, "val", 3), 4))
    assert set(list(tracks)[:3]) == set(SHARED_IMAGES) and set(tracks) == {*TRACKS, AGREES}
    for track, posts in tracks.items():
        alone = list(Probe(cutouts, "val", 3).posts(track, len(posts)))
        assert [post.image for post in posts] == [post.image for post in alone]
        assert sum(len(post.pairs or ()) for post in posts) == (2 if track == AGREES else 4)


def test_an_interrupted_study_makes_no_more_scenes(assets: Assets) -> None:
    tracks: list[str] = []

    def interrupt(track: str) -> None:
        tracks.append(track)
        raise KeyboardInterrupt

    before = threading.active_count()
    extractor: Any = FakeExtractor()
    with pytest.raises(KeyboardInterrupt):
        study.run(extractor, 1, 40, interrupt, "val")
    assert len(tracks) == 1 and threading.active_count() == before


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_command_scores_every_track(
    assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split
) -> None:
    """A model that always predicts none has the share of none, whatever its input."""
    onsets = tuple(texts.ONSETS[split].split())

    class NotaExtractor(FakeExtractor):
        def predict(self, post: Post, pair: Pair) -> str:
            names = " ".join(post.text[e.start : e.end] for e in post.entities)
            assert any(word.startswith(onsets) for word in names.split())
            return "none"

    monkeypatch.setattr("rukh.extractor.Extractor.from_pretrained", lambda name: NotaExtractor())
    out = tmp_path / "figures.json"
    options = ["--model", "x", "--seed", "1", "--pairs", "20", "--json", str(out)]
    done = CliRunner().invoke(app, [*options, "--split", split])
    assert done.exit_code == 0, done.output
    figures = json.loads(out.read_text())
    assert figures["split"] == split and list(figures["tracks"]) == list(TRACKS)
    for track in figures["tracks"].values():
        assert track["pairs"] == 20
        assert track["accuracy"] == track["accuracy_text_only"] == track["accuracy_shuffled"]
        assert track["chance"] >= track["accuracy"]
    assert figures["tracks"]["position"]["accuracy"] == 0.0
    assert all(f"| {track} |" in done.output for track in (*TRACKS, AGREES))


@pytest.mark.parametrize("command", [app, make.app], ids=["probe", "make"])
def test_missing_cutouts_are_an_error(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUKH_STAMPS", str(tmp_path))
    arguments = ["--out", str(tmp_path / "out")] if command is make.app else []
    error = CliRunner().invoke(command, arguments).exception
    assert isinstance(error, InputError) and error.where == str(tmp_path)
    assert "make probe-assets" in str(error.fix)
    assert not (tmp_path / "out").exists()


def test_make_replaces_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("content")
    for out in (tmp_path, tmp_path / "mine"):
        error = CliRunner().invoke(make.app, ["--out", str(out)]).exception
        assert isinstance(error, InputError) and error.where == str(out)
    assert (tmp_path / "mine").read_text() == "content"


def test_a_model_with_another_schema_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "find_assets", lambda: pytest.fail("cut-outs were looked for"))
    extractor: Any = FakeExtractor()
    extractor.schema = RelationSchema.load("mnre")
    with pytest.raises(InputError, match="keeps"):
        study.run(extractor, 0)
