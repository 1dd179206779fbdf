"""Vision encoders give one state per patch, with the patch's box in the image."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from rukh.errors import WeightsError
from rukh.hub import find_package, installed
from rukh.modeling.efficientnet import EfficientNetLite
from rukh.modeling.vision_encoder import (
    HFVisionEncoder,
    VisionEncoder,
    encode_images,
    load_vision_encoder,
    patch_boxes,
)

TINY: Any = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
DINOV2: Any = {"image_size": 32, "patch_size": 8, **TINY}
SQUARE: Any = {"intermediate_size": 16, **DINOV2}
WORDS: Any = {"vocab_size": 50, "max_position_embeddings": 8, "intermediate_size": 16, **TINY}
Build = Callable[[Path], Path]
_LITE0 = find_package("efficientnet-lite0")
lite0 = pytest.mark.skipif(
    _LITE0 is None or installed(_LITE0) is None, reason="EfficientNet-Lite0 is not installed"
)


def save(model: Any, folder: Path, **preprocessing: Any) -> Path:
    model.save_pretrained(folder)
    if preprocessing:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


def vit(folder: Path, kind: Any = transformers.ViTModel) -> Path:
    return save(kind(transformers.ViTConfig(**SQUARE)), folder)


def clip(folder: Path) -> Path:
    """Its patches do not cover the whole image, and it has a text encoder as well."""
    vision = SQUARE | {"image_size": 30}
    config = transformers.CLIPConfig(text_config=WORDS, vision_config=vision, projection_dim=8)
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    model = transformers.CLIPModel(config)
    return save(model, folder, image_mean=mean, image_std=std, crop_size=30)


def clip_vision(folder: Path) -> Path:
    return save(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SQUARE)), folder)


def siglip(folder: Path) -> Path:
    config = transformers.SiglipConfig(text_config=WORDS, vision_config=SQUARE)
    return save(transformers.SiglipModel(config), folder)


def dinov2_registers(folder: Path) -> Path:
    """Pretrained at another size than it is used at."""
    options = DINOV2 | {"image_size": 64}
    config = transformers.Dinov2WithRegistersConfig(num_register_tokens=3, **options)
    sizes: Any = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    return save(transformers.Dinov2WithRegistersModel(config), folder, **sizes)


def dinov2(folder: Path) -> Path:
    return save(transformers.Dinov2Model(transformers.Dinov2Config(**DINOV2)), folder)


def dinov3(folder: Path) -> Path:
    """Rotary positions, a class token and register tokens."""
    config = transformers.DINOv3ViTConfig(num_register_tokens=4, **SQUARE)
    return save(transformers.DINOv3ViTModel(config), folder)


def deit(folder: Path) -> Path:
    """A class token and a distillation token."""
    return save(transformers.DeiTModel(transformers.DeiTConfig(**SQUARE)), folder)


def resnet(folder: Path) -> Path:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    return save(transformers.ResNetModel(config), folder, size=32)


TRANSFORMERS = [vit, clip, clip_vision, siglip, dinov2_registers, dinov2, dinov3, deit]


@pytest.mark.parametrize("build", [*TRANSFORMERS, resnet])
def test_any_vision_model_can_be_loaded(build: Build, tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(build(tmp_path)))
    size, side = (30, 3) if build is clip else (32, 4)
    assert (encoder.size, encoder.grid, encoder.dim) == (size, (side, side), 16)
    assert not encoder.training
    with torch.no_grad():
        states = encoder(torch.randn(2, 3, size, size))
    assert states.shape == (2, side * side, 16) and states.isfinite().all()


@pytest.mark.parametrize("build", TRANSFORMERS)
def test_each_state_belongs_to_the_patch_of_its_box(build: Build, tmp_path: Path) -> None:
    """Without layers a state depends only on its own patch: paint a patch, see which changes."""
    encoder = load_vision_encoder(str(build(tmp_path)))
    assert isinstance(encoder, HFVisionEncoder)
    module, name = next(
        (module, name)
        for module in encoder.model.modules()
        for name in ("layers", "layer")
        if isinstance(getattr(module, name, None), torch.nn.ModuleList)
    )
    setattr(module, name, torch.nn.ModuleList())
    blank = Image.new("RGB", (encoder.size, encoder.size), "gray")
    (before,) = encode_images(encoder, [blank])
    assert len(before.boxes) == encoder.grid[0] * encoder.grid[1]
    for index in (0, 1, encoder.grid[1], len(before.boxes) - 1):
        painted = blank.copy()
        x1, y1, x2, y2 = (round(edge * encoder.size) for edge in before.boxes[index].tolist())
        painted.paste("red", (x1, y1, x2, y2))
        (after,) = encode_images(encoder, [painted])
        changed = (after.states - before.states).abs().amax(-1) > 1e-4
        assert changed.nonzero().flatten().tolist() == [index]


@pytest.mark.parametrize("build", [vit, clip_vision, siglip, deit, dinov2, dinov3])
def test_positions_are_interpolated_to_the_size_of_the_preprocessor(
    build: Build, tmp_path: Path
) -> None:
    folder = build(tmp_path)
    given = {"size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(given))
    encoder = load_vision_encoder(str(folder))
    assert (encoder.size, encoder.grid) == (48, (6, 6))
    assert encoder.mean == (0.5,) * 3 and encoder.std == (0.25,) * 3
    (features,) = encode_images(encoder, [Image.effect_noise((60, 30), 60).convert("RGB")])
    assert len(features.states) == 6 * 4  # 24 of 48 rows of pixels, and half a patch on each side
    assert features.states.isfinite().all()


def test_newer_preprocessing_files(tmp_path: Path) -> None:
    folder = vit(tmp_path)
    given: dict[str, Any] = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": 32}
    for options, expected in (
        ({}, ((0.1,) * 3, (0.2,) * 3)),
        ({"do_normalize": False}, ((0.0,) * 3, (1.0,) * 3)),
    ):
        content = json.dumps({"image_processor": given | options})
        (folder / "processor_config.json").write_text(content)
        encoder = load_vision_encoder(str(folder))
        assert (encoder.mean, encoder.std) == expected


def test_preprocessing_and_coverage_follow_the_model(tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(clip(tmp_path)))
    assert encoder.mean == (0.1, 0.2, 0.3) and encoder.std == (0.4, 0.5, 0.6)
    assert encoder.coverage == 24 / 30  # three patches of 8 pixels
    boxes, visible = patch_boxes(encoder, (0.0, 0.0, 1.0, 1.0))
    assert visible.all()
    torch.testing.assert_close(boxes[-1], torch.tensor([16, 16, 24, 24]) / 30)


@lite0
def test_intermediate_features_are_three_expansions_on_the_last_grid() -> None:
    last = load_vision_encoder("efficientnet-lite0", size=80)
    inner = load_vision_encoder("efficientnet-lite0", size=80, intermediate_features=True)
    assert (last.grid, inner.grid, inner.dim) == ((3, 3), (3, 3), 672 + 2 * 1152)
    assert inner.fingerprint != last.fingerprint
    network: Any = last.network
    blocks = network._blocks
    halving = max(i for i, b in enumerate(blocks) if b._depthwise_conv.stride == (2, 2))
    pixels, maps = torch.randn(1, 3, 80, 80), []

    def record(block: Any, x: Tensor) -> Any:
        maps.append(type(block).expand(block, x))
        return maps[-1]

    for index in (halving, halving + 1, len(blocks) - 1):
        blocks[index].expand = partial(record, blocks[index])
    with torch.no_grad():
        last(pixels)
        fine, *others = maps
        assert fine.shape == (1, 672, 5, 5)
        cells = [[fine[0, :, i : i + 2, j : j + 2] for j in (0, 2, 4)] for i in (0, 2, 4)]
        roots = [[cell.square().mean((1, 2)).sqrt() for cell in row] for row in cells]
        coarse = torch.stack([torch.stack(row, -1) for row in roots], 1)[None]
        expected = torch.cat([coarse, *others], 1).flatten(2).transpose(1, 2)
        assert torch.allclose(inner(pixels), expected, atol=2e-3)


def test_fingerprint_follows_weights_and_preprocessing(tmp_path: Path) -> None:
    # The pooler is not in these weights, and must not make a difference.
    folder = str(vit(tmp_path, transformers.ViTForImageClassification))
    encoder = load_vision_encoder(folder)
    first = encoder.fingerprint
    assert load_vision_encoder(folder).fingerprint == first
    larger = load_vision_encoder(folder, size=48)
    assert larger.grid == (6, 6) and larger.fingerprint != first
    encoder.mean = (0.0, 0.0, 0.0)
    second = encoder.fingerprint
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    assert len({first, second, encoder.fingerprint}) == 3


def bert(folder: Path) -> Path:
    return save(transformers.BertModel(transformers.BertConfig(**WORDS)), folder)


def without_weights(folder: Path) -> Path:
    (vit(folder) / "model.safetensors").unlink()
    return folder


def without_a_tensor(folder: Path) -> Path:
    file = vit(folder) / "model.safetensors"
    state = load_file(file)
    state.pop(next(key for key in state if "layernorm" in key and "layer" in key))
    save_file(state, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("build", "message"),
    [(bert, "bert"), (without_weights, "cannot load"), (without_a_tensor, "lack 1 tensors")],
)
def test_unusable_folders(build: Build, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        load_vision_encoder(str(build(tmp_path)))


def test_intermediate_features_need_an_efficientnet(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        load_vision_encoder(str(vit(tmp_path)), intermediate_features=True)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x04\x95"])
def test_files_that_are_no_state_dict(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "junk.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="no state dict"):
        load_vision_encoder(str(tmp_path / "junk.pth"))


def test_lite_state_dict_is_strict_and_never_unpickled(tmp_path: Path) -> None:
    network = EfficientNetLite()
    file = tmp_path / "lite0.pth"
    torch.save(network.state_dict() | {"_fc.weight": torch.zeros(1)}, file)
    encoder = load_vision_encoder(str(file))
    assert (encoder.size, encoder.grid, encoder.dim) == (224, (7, 7), 1280)
    state = network.state_dict()
    state["_blocks.3._bn1.wrong"] = state.pop("_blocks.3._bn1.weight")
    torch.save(state, file)
    with pytest.raises(WeightsError, match=r"_blocks\.3\._bn1\.w"):
        load_vision_encoder(str(file))
    torch.save({"_conv_head.weight": Path("an object of a class")}, file)
    with pytest.raises(WeightsError, match="no state dict"):
        load_vision_encoder(str(file))


@lite0
def test_lite0_equals_its_reference_implementation() -> None:
    # Figures of efficientnet_lite_pytorch 0.1.0, which this network reproduced bit for bit.
    encoder = load_vision_encoder("efficientnet-lite0")
    wave = torch.sin(torch.arange(3 * 224 * 224, dtype=torch.float32) * 0.01)
    with torch.no_grad():
        states = encoder(wave.reshape(1, 3, 224, 224))
    assert states.shape == (1, 49, 1280)
    assert states.mean().item() == pytest.approx(0.150429, abs=1e-5)
    assert states.std().item() == pytest.approx(0.571911, abs=1e-5)
    corners = states[0, [0, 24, 48]]
    torch.testing.assert_close(
        corners.mean(-1), torch.tensor([0.035848, 0.034204, 0.067113]), atol=2e-6, rtol=1e-4
    )
    assert corners.argmax(-1).tolist()[:2] == [1042, 1244]


class ColourEncoder(VisionEncoder):
    """Its states are the mean colours of its patches."""

    name, size, mean, std, dim = "colours", 32, (0.0,) * 3, (1.0,) * 3, 3
    grid = (4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(pixels, 8).flatten(2).transpose(1, 2) * self.one


@pytest.mark.parametrize(
    ("size", "count"),
    [((64, 64), 16), ((64, 32), 8), ((32, 64), 8), ((64, 48), 16), ((64, 1), 4), ((1, 999), 4)],
)
def test_patches_tile_the_image_without_padding(size: tuple[int, int], count: int) -> None:
    (features,) = encode_images(ColourEncoder(), [Image.new("RGB", size, "white")])
    assert features.states.shape == (count, 3) and features.boxes.shape == (count, 4)
    assert (features.boxes >= 0).all() and (features.boxes <= 1).all()
    sides = features.boxes[:, 2:] - features.boxes[:, :2]
    assert sides.prod(-1).sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (features.states > 0).all()  # no patch shows only padding


def test_a_patch_shows_what_lies_under_its_box() -> None:
    image = Image.new("RGB", (64, 32), "black")
    image.paste("red", (48, 16, 64, 32))
    (features,) = encode_images(ColourEncoder(), [image])
    red = features.states[:, 0] > 0.9
    assert features.boxes[red].tolist() == [[0.75, 0.5, 1.0, 1.0]]


def test_batches_give_the_same_as_single_images(tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(vit(tmp_path)))
    shapes = [(9, 9), (40, 10), (10, 40), (1, 1), (32, 31)]
    images = [Image.effect_noise(shape, 60).convert("RGB") for shape in shapes]
    for image, one in zip(images, encode_images(encoder, images), strict=True):
        (alone,) = encode_images(encoder, [image])
        torch.testing.assert_close(one.boxes, alone.boxes)
        torch.testing.assert_close(one.states, alone.states, atol=1e-5, rtol=1e-4)
        assert not one.states.requires_grad
    assert encode_images(encoder, []) == []
