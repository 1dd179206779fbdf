"""Encoders give one state a patch, in the picture's own coordinates."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from rukh.errors import WeightsError
from rukh.hub import installed, known
from rukh.modeling.efficientnet import VARIANTS, EfficientNetLite, _Expansion
from rukh.modeling.image_io import load_image
from rukh.modeling.vision_encoder import (
    EfficientNetEncoder,
    HFVisionEncoder,
    VisionEncoder,
    encode_images,
    load_vision_encoder,
    patch_boxes,
)

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {"vocab_size": 50, "max_position_embeddings": 8, "intermediate_size": 16, **TINY}


def lite0_is_here() -> bool:
    one = known("efficientnet-lite0")
    return one is not None and installed(one) is not None


lite0 = pytest.mark.skipif(
    not lite0_is_here(), reason="weights of EfficientNet-Lite0 not installed"
)


def vit(folder: Path, kind: type = transformers.ViTModel) -> Path:
    config = transformers.ViTConfig(image_size=32, patch_size=8, intermediate_size=16, **TINY)
    kind(config).save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    vision = {"image_size": 30, "patch_size": 8, "intermediate_size": 16, **TINY}
    config = transformers.CLIPConfig(text_config=WORDS, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    told = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "crop_size": 30}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def siglip(folder: Path) -> Path:
    vision = {"image_size": 32, "patch_size": 8, "intermediate_size": 16, **TINY}
    config = transformers.SiglipConfig(text_config=WORDS, vision_config=vision)
    transformers.SiglipModel(config).save_pretrained(folder)
    return folder


def dinov2(folder: Path) -> Path:
    """With register tokens, and trained at another size than it is used at."""
    config = transformers.Dinov2WithRegistersConfig(
        image_size=64, patch_size=8, num_register_tokens=3, **TINY
    )
    transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    told = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def dino(folder: Path) -> Path:
    """DINOv2 without register tokens."""
    config = transformers.Dinov2Config(image_size=32, patch_size=8, **TINY)
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


def dinov3(folder: Path) -> Path:
    """Rotary positions, a class token and register tokens."""
    config = transformers.DINOv3ViTConfig(
        image_size=32, patch_size=8, num_register_tokens=4, intermediate_size=16, **TINY
    )
    transformers.DINOv3ViTModel(config).save_pretrained(folder)
    return folder


def clip_tower(folder: Path) -> Path:
    """The vision tower alone."""
    vision = {"image_size": 32, "patch_size": 8, "intermediate_size": 16, **TINY}
    transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision)).save_pretrained(folder)
    return folder


def deit(folder: Path) -> Path:
    """A class token and a distillation token."""
    config = transformers.DeiTConfig(image_size=32, patch_size=8, intermediate_size=16, **TINY)
    transformers.DeiTModel(config).save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32}))
    return folder


@pytest.mark.parametrize(
    ("build", "size", "grid"),
    [
        (vit, 32, (4, 4)),
        (clip, 30, (3, 3)),
        (siglip, 32, (4, 4)),
        (dinov2, 32, (4, 4)),
        (dino, 32, (4, 4)),
        (dinov3, 32, (4, 4)),
        (clip_tower, 32, (4, 4)),
        (deit, 32, (4, 4)),
        (resnet, 32, (4, 4)),
    ],
)
def test_any_vision_model_loads_by_path(build, size, grid, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    encoder = load_vision_encoder(str(build(tmp_path)))
    assert (encoder.size, encoder.grid, encoder.dim) == (size, grid, 16)
    assert not encoder.training
    with torch.no_grad():
        states = encoder(torch.randn(2, 3, size, size))
    assert states.shape == (2, grid[0] * grid[1], 16) and states.isfinite().all()


@pytest.mark.parametrize("build", [vit, clip, siglip, dinov2, dino, dinov3, clip_tower, deit])
def test_a_state_is_that_of_the_patch_under_its_box(build, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Without layers a state depends on its own patch alone: paint one, see which moves."""
    encoder = load_vision_encoder(str(build(tmp_path)))
    assert isinstance(encoder, HFVisionEncoder)
    found = next(
        (module, name)
        for module in encoder.model.modules()
        for name in ("layers", "layer")
        if isinstance(getattr(module, name, None), torch.nn.ModuleList)
    )
    setattr(*found, torch.nn.ModuleList())
    side = encoder.size
    blank = Image.new("RGB", (side, side), "gray")
    (before,) = encode_images(encoder, [blank])
    boxes = before.boxes.clone()
    assert len(boxes) == encoder.grid[0] * encoder.grid[1]
    for index in (0, 1, encoder.grid[1], len(boxes) - 1):
        painted = blank.copy()
        x1, y1, x2, y2 = (round(edge * side) for edge in boxes[index].tolist())
        painted.paste("red", (x1, y1, x2, y2))
        (after,) = encode_images(encoder, [painted])
        moved = (after.states - before.states).abs().amax(-1) > 1e-4
        assert moved.nonzero().flatten().tolist() == [index]


@pytest.mark.parametrize("build", [vit, clip_tower, siglip, deit, dino, dinov3])
def test_positions_are_interpolated_to_the_size_of_the_preprocessor(build, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = build(tmp_path)
    told = {"size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    encoder = load_vision_encoder(str(folder))
    assert (encoder.size, encoder.grid) == (48, (6, 6))
    assert encoder.mean == (0.5,) * 3 and encoder.std == (0.25,) * 3
    (found,) = encode_images(encoder, [Image.effect_noise((60, 30), 60).convert("RGB")])
    assert len(found.states) == 6 * 4  # 24 of the 48 rows of pixels, and half a patch each side
    assert found.states.isfinite().all()


def test_newer_preprocessing_files_are_read(tmp_path: Path) -> None:
    folder = vit(tmp_path)
    inner = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": {"height": 32, "width": 32}}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    encoder = load_vision_encoder(str(folder))
    assert (encoder.mean, encoder.std) == ((0.1,) * 3, (0.2,) * 3)
    inner["do_normalize"] = False
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    encoder = load_vision_encoder(str(folder))
    assert (encoder.mean, encoder.std) == ((0.0,) * 3, (1.0,) * 3)


def test_only_leading_tokens_are_dropped(tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(vit(tmp_path)))
    assert isinstance(encoder, HFVisionEncoder)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        whole = encoder.model(pixel_values=pixels).last_hidden_state
        torch.testing.assert_close(encoder(pixels), whole[:, 1:])


def test_preprocessing_follows_the_model_and_so_does_the_cover(tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(clip(tmp_path)))
    assert encoder.mean == (0.1, 0.2, 0.3) and encoder.std == (0.4, 0.5, 0.6)
    assert encoder.cover == 24 / 30  # three patches of 8 pixels
    boxes, shown = patch_boxes(encoder, (0.0, 0.0, 1.0, 1.0))
    assert shown.all()
    torch.testing.assert_close(boxes[-1], torch.tensor([16, 16, 24, 24]) / 30)


def test_pictures_of_another_size_have_another_grid(tmp_path: Path) -> None:
    folder = str(vit(tmp_path))
    encoder, larger = load_vision_encoder(folder), load_vision_encoder(folder, size=48)
    assert (encoder.grid, larger.grid, larger.size) == ((4, 4), (6, 6), 48)
    assert encoder.fingerprint != larger.fingerprint
    with torch.no_grad():
        assert larger(torch.randn(1, 3, 48, 48)).shape == (1, 36, encoder.dim)


@lite0
def test_lite0_takes_another_size() -> None:
    encoder = load_vision_encoder("efficientnet-lite0", size=288)
    assert encoder.grid == (9, 9)
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 288, 288)).shape == (1, 81, 1280)


@lite0
def test_the_middle_map_is_what_three_blocks_widen_on_the_last_grid() -> None:
    whole = load_vision_encoder("efficientnet-lite0", size=80)
    half = load_vision_encoder("efficientnet-lite0", size=80, middle=True)
    assert (whole.grid, half.grid, half.dim) == ((3, 3), (3, 3), 672 + 2 * 1152)
    assert half.fingerprint != whole.fingerprint
    blocks, seen = whole.network._blocks, []  # type: ignore[union-attr]
    halving = max(i for i, b in enumerate(blocks) if b._depthwise_conv.stride == (2, 2))  # type: ignore[arg-type, union-attr]
    read = [blocks[i] for i in (halving, halving + 1, len(blocks) - 1)]  # type: ignore[index, arg-type]
    for block in read:
        block.register_forward_pre_hook(lambda _, told: seen.append(told[0]))
    pixels = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        whole(pixels)
        fine, *others = (_Expansion.forward(b, x) for b, x in zip(read, seen, strict=True))
        assert fine.shape == (1, 672, 5, 5)
        cells = [[fine[0, :, i : i + 2, j : j + 2] for j in (0, 2, 4)] for i in (0, 2, 4)]
        roots = [[c.square().mean((1, 2)).sqrt() for c in row] for row in cells]
        coarse = torch.stack([torch.stack(row, -1) for row in roots], 1)[None]
        wide = torch.cat([coarse, *others], 1).flatten(2).transpose(1, 2)
        assert torch.allclose(half(pixels), wide, atol=2e-3)


def test_only_an_efficientnet_lite_has_a_middle_map(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no middle map"):
        load_vision_encoder(str(vit(tmp_path)), middle=True)


def test_a_pooler_that_is_not_in_the_weights_does_not_matter(tmp_path: Path) -> None:
    folder = str(vit(tmp_path, transformers.ViTForImageClassification))
    assert load_vision_encoder(folder).fingerprint == load_vision_encoder(folder).fingerprint


def test_fingerprint_follows_weights_and_preprocessing(tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(vit(tmp_path)))
    first = encoder.fingerprint
    encoder.mean = (0.0, 0.0, 0.0)
    second = encoder.fingerprint
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    assert len({first, second, encoder.fingerprint}) == 3


def test_what_is_no_vision_model(tmp_path: Path) -> None:
    transformers.BertModel(transformers.BertConfig(**WORDS)).save_pretrained(tmp_path / "bert")
    with pytest.raises(WeightsError, match="bert model, no encoder of pictures"):
        load_vision_encoder(str(tmp_path / "bert"))
    folder = vit(tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot load"):
        load_vision_encoder(str(folder))
    junk = tmp_path / "junk.pth"
    for content in (b"", b"junk", b"\x80\x04\x95"):
        junk.write_bytes(content)
        with pytest.raises(WeightsError, match="no state dict"):
            load_vision_encoder(str(junk))


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = vit(tmp_path) / "model.safetensors"
    state = load_file(file)
    state.pop(next(key for key in state if "layernorm" in key and "layer" in key))
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lack 1 tensors of the model"):
        load_vision_encoder(str(tmp_path))


def test_lite_state_dict_is_read_strictly_and_never_unpickled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite(VARIANTS["efficientnet-lite2"])
    file = tmp_path / "lite2.pth"
    torch.save(network.state_dict() | {"_fc.weight": torch.zeros(1)}, file)
    encoder = load_vision_encoder(str(file))
    assert (encoder.size, encoder.grid, encoder.dim) == (260, (9, 9), 1280)
    state = network.state_dict()
    state["_blocks.3._bn1.wrong"] = state.pop("_blocks.3._bn1.weight")
    torch.save(state, file)
    with pytest.raises(WeightsError, match=r"does not fit.*_blocks\.3\._bn1\.w"):
        load_vision_encoder(str(file))
    torch.save({"_conv_head.weight": Path("a class is code")}, file)
    with pytest.raises(WeightsError, match="no state dict"):
        load_vision_encoder(str(file))


@lite0
def test_lite0_computes_what_its_reference_computes() -> None:
    # Figures of efficientnet_lite_pytorch 0.1.0, to which this network was equal bit for bit.
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


class Ruler(VisionEncoder):
    """Its states are the mean colours of its patches, so that a test can see what is where."""

    name, size, mean, std, dim = "ruler", 32, (0.0,) * 3, (1.0,) * 3, 3
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
def test_patches_tile_the_picture_and_nothing_else(size: tuple[int, int], count: int) -> None:
    (found,) = encode_images(Ruler(), [Image.new("RGB", size, "white")])
    assert found.states.shape == (count, 3) and found.boxes.shape == (count, 4)
    assert (found.boxes >= 0).all() and (found.boxes <= 1).all()
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    assert sides.prod(-1).sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (found.states > 0).all()  # none is all padding


def test_a_patch_shows_what_lies_under_its_box() -> None:
    image = Image.new("RGB", (64, 32), "black")
    image.paste("red", (48, 16, 64, 32))
    (found,) = encode_images(Ruler(), [image])
    red = found.states[:, 0] > 0.9
    assert found.boxes[red].tolist() == [[0.75, 0.5, 1.0, 1.0]]


def test_batches_give_what_single_pictures_give_whatever_the_mode(tmp_path: Path) -> None:
    encoder = load_vision_encoder(str(vit(tmp_path)))
    shapes = [(9, 9), (40, 10), (10, 40), (1, 1), (32, 31)]
    images = [Image.effect_noise(shape, 60).convert("RGB") for shape in shapes]
    encoder.train()
    together = encode_images(encoder, images, batch_size=2)
    assert not any(part.training for part in encoder.modules())
    for image, found in zip(images, together, strict=True):
        (alone,) = encode_images(encoder, [image])
        torch.testing.assert_close(found.boxes, alone.boxes)
        torch.testing.assert_close(found.states, alone.states, atol=1e-5, rtol=1e-4)
        assert not found.states.requires_grad
    assert encode_images(encoder, []) == []


def pictures_of_mnre() -> list[Path]:
    beside = Path(__file__).parents[2] / "shared" / "data"
    return sorted((Path(os.environ.get("RUKH_DATA", beside)) / "mnre" / "images").glob("*/*.jpg"))


@lite0
@pytest.mark.skipif(not pictures_of_mnre(), reason="no MNRE pictures under RUKH_DATA")
def test_real_pictures() -> None:
    encoder = load_vision_encoder("efficientnet-lite0")
    assert isinstance(encoder, EfficientNetEncoder)
    maps = encode_images(encoder, [load_image(path) for path in pictures_of_mnre()])
    assert len(maps) == len(pictures_of_mnre())
    means = torch.stack([found.states.mean(0) for found in maps])
    assert means.isfinite().all()
    # No two pictures look the same to it.
    assert (torch.cdist(means, means) + torch.eye(len(maps)) * 99).min() > 0.1
