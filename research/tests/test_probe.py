"""The visual probe: splits that share nothing, labels that no text gives away, and its controls."""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from research.probe import study as probe
from research.probe import texts as probe_texts
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
    AT_EVENTS,
    POSITIONS,
    RELATIONS,
    SHARED_IMAGES,
    TRACKS,
    Probe,
    write_probe,
)
from research.probe.posts import _standing as standing
from research.probe.scenes import Placed, compose, frame_at, scene_size, slots
from rukh.cli.study import app as study_app
from typer.testing import CliRunner

from rukh.cli.data import app as data_app
from rukh.data.readers import read
from rukh.errors import InputError
from rukh.modeling.regions import box_relation
from rukh.records import Pair, Post, TextEntity, Triple, VisualObject, to_mention
from rukh.schema.schema import RelationSchema

SCHEMA = RelationSchema.load("probe")


@pytest.fixture(scope="module")
def assets() -> Iterator[Assets]:
    """Where the real cut-outs lie; what needs them is skipped where they were not fetched."""
    fetched = Path("~/.cache/rukh/stamps").expanduser()  # the tests' own cache is empty
    with pytest.MonkeyPatch.context() as patch:
        if "RUKH_STAMPS" not in os.environ and fetched.is_dir():
            patch.setenv("RUKH_STAMPS", str(fetched))
        try:
            yield find_assets()
        except InputError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("app", [data_app, study_app], ids=["data", "study"])
def test_without_the_pictures_both_commands_say_what_fetches_them(
    app: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUKH_STAMPS", str(tmp_path))
    arguments = ["probe", "--out", str(tmp_path / "out")] if app is data_app else ["probe"]
    result = CliRunner().invoke(app, arguments)  # type: ignore[arg-type]
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
    assert "make probe-assets" in str(result.exception)
    assert not (tmp_path / "out").exists()


@given(st.sets(st.text(min_size=1, max_size=8), min_size=12, max_size=80))
def test_splits_part_the_cutouts(names: set[str]) -> None:
    found = [[Cutout("animal", name)] for name in sorted(names)]
    parts = [split_of(found, split) for split in SPLITS]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(names)
    assert abs(len(parts[0]) - 0.6 * len(names)) <= 0.5
    assert [split_of(found[::-1], split) for split in SPLITS] == parts


def test_real_cutouts_are_enough_and_never_shared(assets: Assets) -> None:
    assert set(SUBJECTS) == {*RELATIONS, "person"}
    for name in SUBJECTS:
        parts = [{c.name for c in split_of(groups(assets, name), split)} for split in SPLITS]
        assert all(parts) and not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    cutouts = Cutouts(assets, "test")
    for some in cutouts.of.values():
        image = cutouts.load(some[0])
        assert image.mode == "RGBA" and image.getextrema()[3][1] == 255


def test_every_label_is_in_the_schema() -> None:
    for label in (*RELATIONS.values(), *AT_EVENTS.values(), *POSITIONS, *probe_texts.STATED):
        SCHEMA.resolve(label, "probe")
    assert set(probe_texts.STATED) == set(RELATIONS.values())
    assert all(len(SCHEMA.relation(name).descriptions) >= 3 for name in SCHEMA.names)


def test_no_name_is_shared_between_splits() -> None:
    for table in (probe_texts.FIRST, probe_texts.ONSETS):
        words = [word for split in SPLITS for word in table[split].split()]
        assert len(words) == len(set(words))
    # No onset begins another split's, so that a made-up name belongs to one split alone.
    of = {onset: split for split in SPLITS for onset in probe_texts.ONSETS[split].split()}
    for a in of:
        assert not [b for b in of if of[b] != of[a] and (a + "aby").startswith(b)]


@given(st.integers(0, 2**32), st.sampled_from([probe_texts.NEUTRAL, probe_texts.BESIDE]))
def test_spans_are_where_the_names_stand(seed: int, cores: tuple[str, ...]) -> None:
    random = np.random.default_rng(seed)
    names = {role: probe_texts.person(random, "val") for role in "ABT"}
    text, spans = probe_texts.sentence(random, cores, names)
    assert len(spans) == 2 and "{" not in text
    assert all(text[a:b] == names[role] for role, (a, b) in spans.items())


@given(st.integers(0, 2**32), st.sampled_from(POSITIONS))
def test_boxes_stand_as_the_label_says(seed: int, label: str) -> None:
    import torch

    a, b = standing(np.random.default_rng(seed), label)
    for box in (a, b):
        assert (
            all(-1e-9 <= side <= 1 + 1e-9 for side in box) and box[0] < box[2] and box[1] < box[3]
        )
    right, down, _, _, overlap, of_a, of_b = box_relation(torch.tensor([a]), torch.tensor([b]))[
        0
    ].tolist()
    if label in ("inside", "contains"):
        assert (of_a if label == "inside" else of_b) > 0.999
    else:
        along, across = (right, down) if label in ("left_of", "right_of") else (down, right)
        assert (along > 0) == (label in ("left_of", "above"))
        assert abs(across) < abs(along) and overlap < 1e-6


@given(st.integers(0, 2**32))
def test_slots_lie_in_different_quarters(seed: int) -> None:
    frames = slots(np.random.default_rng(seed))
    quarters = {(round((f[0] + f[2]) / 2), round((f[1] + f[3]) / 2)) for f in frames}
    assert len(quarters) == 4 and all(0 <= side <= 1 for f in frames for side in f)


def test_a_scene_is_made_alike_by_the_same_seed() -> None:
    from PIL import Image

    def make(seed: int) -> tuple[bytes, list[tuple[float, ...]]]:
        random = np.random.default_rng(seed)
        thing = Image.new("RGBA", (80, 50), (255, 0, 0, 255))
        things = [Placed(thing, frame_at(random, (0.2, 0.7), 0.3))]
        return compose(random, scene_size(random), things)  # type: ignore[return-value]

    for seed in range(8):
        data, boxes = make(seed)
        assert (data, boxes) == make(seed) and data != make(seed + 100)[0]
        image = Image.open(io.BytesIO(data))
        assert 200 < min(image.size) <= max(image.size) < 350
        ((x1, y1, x2, y2),) = boxes
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        middle = image.getpixel(
            (int((x1 + x2) / 2 * image.width), int((y1 + y2) / 2 * image.height))
        )
        assert middle[0] > 150 and middle[1] < 110 and middle[2] < 110  # type: ignore[index]


def test_posts_do_not_depend_on_what_was_asked_before(assets: Assets) -> None:
    cutouts = Cutouts(assets, "val")
    for track in (*TRACKS, "picture_agrees"):
        first = list(Probe(cutouts, "val", 3).posts(track, 3))
        other = Probe(cutouts, "val", 3)
        list(other.posts("picture_misleads", 2))
        assert first == list(other.posts(track, 3))
        assert first != list(Probe(cutouts, "val", 4).posts(track, 3))


def test_text_is_drawn_without_a_look_at_the_label(
    assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ``whole_image`` another subject in the same picture leaves the text as it is."""
    cutouts = Cutouts(assets, "val")
    before = list(Probe(cutouts, "val", 5).posts("whole_image", 12))
    monkeypatch.setattr(
        Probe, "_picture", lambda self, number: (b"other", list(RELATIONS)[number % 7])
    )
    after = list(Probe(cutouts, "val", 5).posts("whole_image", 12))
    assert [post.text for post in before] == [post.text for post in after]
    labels = [[post.pairs[0].relation for post in some] for some in (before, after) if some]  # type: ignore[index]
    assert labels[0] != labels[1]


def test_labels_are_spread_as_promised(assets: Assets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "research.probe.posts.compose",
        lambda random, size, things: (b"", [thing.frame for thing in things]),
    )
    maker = Probe(Cutouts(assets, "test"), "test", 2)
    count = {
        track: Counter(p.relation for post in maker.posts(track, 600) for p in post.pairs or ())
        for track in TRACKS
    }
    for track in ("whole_image", "one_region", "position", "picture_misleads"):
        labels = 6 if track == "position" else 7
        shares = [n / count[track].total() for n in count[track].values()]
        assert len(shares) == labels and max(shares) < 1.4 / labels
    none = count["object_argument"]["none"] / count["object_argument"].total()
    assert 0.47 < none < 0.53
    regions = list(maker.posts("one_region", 60))
    assert all(len({p.relation for p in post.pairs or ()}) > 1 for post in regions)
    for post in maker.posts("picture_misleads", 30):
        subject = maker._image(int(post.id.rsplit("-", 1)[1]))[1]
        assert post.pairs and post.pairs[0].relation != RELATIONS[subject]


def test_a_folder_of_posts_is_read_back(assets: Assets, tmp_path: Path) -> None:
    sizes = {split: dict.fromkeys((*TRACKS, "picture_agrees"), 2) for split in SPLITS}
    assert write_probe(tmp_path / "a", 1, sizes) == dict.fromkeys(SPLITS, 12)  # type: ignore[arg-type]
    write_probe(tmp_path / "b", 1, sizes)  # type: ignore[arg-type]
    for split in SPLITS:
        one = (tmp_path / "a" / f"{split}.jsonl").read_bytes()
        assert one == (tmp_path / "b" / f"{split}.jsonl").read_bytes()
        for post in read(tmp_path / "a" / f"{split}.jsonl", "jsonl"):
            assert isinstance(post.image, Path) and post.image.is_file()
            assert all(isinstance(o, VisualObject) for o in post.objects)


def things(number: int, count: int) -> Post:
    """A post whose picture and boxes bear its number."""
    boxes = [(0.1 * i, number / 10, 0.1 * i + 0.1, number / 10 + 0.1) for i in range(count)]
    return Post(
        id=str(number),
        text="Ann",
        image=bytes([number]),
        entities=(TextEntity(id="A", start=0, end=3),),
        objects=tuple(VisualObject(id=f"o{i}", box=box) for i, box in enumerate(boxes)),
        pairs=(Pair(head="o0", tail="o1", relation="left_of" if number % 2 else "above"),),
    )


def test_shuffling_leaves_no_post_its_own() -> None:
    posts = [things(i, 2) for i in range(8)]
    for post, other in zip(posts, probe.shuffled(posts, 0), strict=True):
        assert (post.id, post.pairs) == (other.id, other.pairs) and post.image != other.image
        number = other.image[0]  # type: ignore[index]
        assert [o.box for o in other.objects] == [o.box for o in things(number, 2).objects]
    for post, other in zip(posts, probe.boxes_shuffled(posts, 0), strict=True):
        assert post.image == other.image and post.objects[0].box != other.objects[0].box
    (turned,) = probe.boxes_shuffled([things(3, 3)], 0)
    assert [o.box for o in turned.objects] == [things(3, 3).objects[i].box for i in (1, 2, 0)]


def test_without_its_picture_a_post_has_no_boxes() -> None:
    bare = probe.without_image(things(1, 3))
    assert bare.image is None and {o.box for o in bare.objects} == {(0.0, 0.0, 1.0, 1.0)}
    assert probe.boxes_only(things(1, 3)).objects == things(1, 3).objects


def triple(post: Post, pair: Pair, relation: str, **more: Any) -> Triple:
    head, tail = (to_mention(post.argument(one), post.text) for one in (pair.head, pair.tail))
    return Triple(post_id=post.id, head=head, tail=tail, relation=relation, score=1.0, **more)


class Looker:
    """Answers by the picture's number: right wherever a post has its own."""

    schema = SCHEMA

    def stream(self, posts: Iterable[Post]) -> Iterator[list[Triple]]:
        for post in posts:
            odd = bool(post.image and post.image[0] % 2)  # type: ignore[index]
            there, back = ("left_of", "right_of") if odd else ("above", "below")
            yield [
                triple(post, p, there if p.head == "o0" else back, gate=0.5)
                for p in post.pairs or ()
            ]


def test_a_pair_is_right_only_both_ways() -> None:
    posts = [things(i, 2) for i in range(8)]
    asked = probe.score(Looker(), posts)  # type: ignore[arg-type]
    assert asked.accuracy == 1.0 and asked.gate == 0.5 and len(asked.right) == 8
    one_way = [
        post.model_copy(update={"pairs": (Pair(head="o0", tail="o1", relation="contains"),)})
        for post in posts
    ]
    assert probe.score(Looker(), one_way).accuracy == 0.0  # type: ignore[arg-type]
    assert probe.score(Looker(), [probe.without_image(p) for p in posts]).accuracy == 0.5  # type: ignore[arg-type]


def test_tracks_are_made_alike_and_those_of_the_same_pictures_stand_together(
    assets: Assets,
) -> None:
    cutouts = Cutouts(assets, "val")
    made = dict(probe._generate(Probe(cutouts, "val", 3), 4))
    assert set(list(made)[:3]) == set(SHARED_IMAGES) and set(made) == {*TRACKS, "picture_agrees"}
    for track, posts in made.items():
        alone = list(Probe(cutouts, "val", 3).posts(track, len(posts)))
        assert [p.image for p in posts] == [p.image for p in alone]
        assert sum(len(p.pairs or ()) for p in posts) == (2 if track == "picture_agrees" else 4)


def test_an_interrupted_study_makes_no_more_scenes(
    assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def interrupted(name: str) -> None:
        asked.append(name)
        raise KeyboardInterrupt

    start = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        probe.run(Looker(), 1, 40, interrupted, "val")  # type: ignore[arg-type]
    assert len(asked) == 1 and threading.active_count() == start


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_study_asks_every_track_and_prints_a_table(
    assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split
) -> None:
    """With a model that always says none: at the share of none, whatever it is shown."""
    onsets = tuple(probe_texts.ONSETS[split].split())

    class Silent(Looker):
        def stream(self, posts: Iterable[Post]) -> Iterator[list[Triple]]:
            for post in posts:
                names = " ".join(post.text[e.start : e.end] for e in post.entities)
                assert any(word.startswith(onsets) for word in names.split())
                yield [triple(post, p, "none") for p in post.pairs or ()]

    monkeypatch.setattr("rukh.extractor.Extractor.from_pretrained", lambda name: Silent())
    out = tmp_path / "figures.json"
    options = ["probe", "--model", "x", "--seed", "1", "--pairs", "20", "--json", str(out)]
    result = CliRunner().invoke(study_app, [*options, "--split", split])
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    assert figures["split"] == split
    assert list(figures["tracks"]) == list(TRACKS)
    for one in figures["tracks"].values():
        assert one["pairs"] == 20
        assert one["accuracy"] == one["accuracy_text_only"] == one["accuracy_shuffled"]
        assert one["chance"] >= one["accuracy"] or one["chance"] == one["accuracy"]
    assert figures["tracks"]["position"]["accuracy"] == 0.0
    assert all(f"| {track} |" in result.output for track in (*TRACKS, "picture_agrees"))


def test_the_command_replaces_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    for out, why in ((tmp_path, "holds other files"), (tmp_path / "mine", "is no folder")):
        done = CliRunner().invoke(data_app, ["probe", "--out", str(out)])
        assert why in str(done.exception)
    assert (tmp_path / "mine").read_text() == "kept"


def test_another_schema_is_refused_before_any_scene_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "find_assets", lambda: pytest.fail("cut-outs were asked for"))
    other = Looker()
    other.schema = RelationSchema.load("mnre")
    with pytest.raises(InputError, match="keeps"):
        probe.run(other, 0)  # type: ignore[arg-type]
