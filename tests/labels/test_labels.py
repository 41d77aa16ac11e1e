"""Stored labels: they train the very students that online labels train, and take the bytes that the formula says."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

import hello_distill as hd
from conftest import seal
from hello_distill import artifact as artifacts
from hello_distill import cli
from hello_distill import student as evaluate
from hello_distill.api import distill
from hello_distill.artifact import Artifact, Distilled
from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import codecs, costs, sizes, storage, tensors
from hello_distill.format import precision as precisions
from hello_distill.format.manifest import IMAGES
from hello_distill.format.specs import Augment, Codec
from hello_distill.format.storage import read_manifest
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.labels.sources.recording import Draw, Plan
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.recipes import find_comparison
from hello_distill.relabel import relabel, wanted
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.training.networks import build
from hello_distill.training.training_set import TrainingSet
from hello_distill.types import View
from hello_distill.views import render, sample_views


@pytest.fixture(scope="module")
def taught(tree: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact with teacher labels."""
    method = replace(recipe, distiller=RDED(recipe.distiller.patches))
    return distill(str(tree), tmp_path_factory.mktemp("out") / "taught", method)


def trained(folder: Path, test: ImageSet, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights of the student that an artefact trains."""
    made = []

    def kept(*arguments: object) -> torch.nn.Module:
        made.append(build(*arguments))
        return made[-1]

    monkeypatch.setattr(evaluate, "build", kept)
    evaluate.train_student(artifacts.load(folder), test, seed=0)
    return made[-1].state_dict()


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("online", ["taught", "artefact"])
def test_a_student_of_stored_labels_is_that_of_online_labels_bit_for_bit(
    online: str,
    mix: str,
    request: pytest.FixtureRequest,
    material: Material,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = request.getfixturevalue(online)
    opened = artifacts.load(source)
    student = replace(opened.student, augment=Augment(scale=(0.3, 1.0), mix=mix))
    live = artifacts.save_relabelled(source, opened.labels, student, tmp_path / "online")
    stored = relabel(live, tmp_path / "stored", wanted("stored"))
    assert not (stored / "teacher").exists() and not (stored / "projector").exists()
    expected = trained(live, material.held, monkeypatch)
    found = trained(stored, material.held, monkeypatch)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    other = trained(relabel(live, tmp_path / "other", wanted("stored", seed=1)), material.held, monkeypatch)
    assert any(not torch.equal(other[name], value) for name, value in expected.items())


def test_figures_of_labels_are_not_said_of_others(artefact: Path, tmp_path: Path) -> None:
    """`info` would call the projector's agreement that of a single label for each image."""
    made, opened = hd.info(artefact)["figures"], artifacts.load(artefact)
    same = artifacts.save_relabelled(artefact, opened.labels, opened.student, tmp_path / "same")
    assert hd.info(same)["figures"] == made and {"view_agreement", "labels_on_held_out", "fidelity"} <= made.keys()
    for kind in ("hard", "static"):
        kept = hd.info(relabel(artefact, tmp_path / kind, wanted(kind)))["figures"]
        assert kept == {name: value for name, value in made.items() if name not in artifacts.OF_LABELS} and kept
    rounded = artifacts.save_relabelled(artefact, opened.labels.rounded("int8"), opened.student, tmp_path / "rounded")
    assert "view_agreement" not in hd.info(rounded)["figures"]


FORMS = {
    "stored": (wanted("stored"), {}),
    "one": (wanted("stored", views=1), {"epochs": 1}),
    "many": (wanted("stored", views=9), {"epochs": 9}),
    "pruned": (wanted("pruned", keep=0.4), {"keep": 0.4}),
    "topk": (wanted("quantized", codec="topk", k=3), {"codec": "topk", "k": 3}),
    "int8": (wanted("quantized", codec="int8", keep=0.5), {"codec": "int8", "keep": 0.5}),
    "float8": (wanted("quantized", codec="float8"), {"codec": "float8"}),
}


@pytest.mark.parametrize("quirk", ["norm", "batch_statistics", "jpeg"])
def test_what_is_stored_is_what_the_online_source_says_of_the_images_on_disk(
    quirk: str, material: Material, recipe: Recipe, tmp_path: Path
) -> None:
    """Also where a label depends on its batch, and where images lose by being kept."""
    members = [build(name, 4, 32, 0) for name in ("convnet2_w8", "mobilenet_v2")]
    labels = TeacherLabels(
        ["convnet2_w8", "mobilenet_v2"],
        members,
        32,
        "norm" if quirk == "norm" else "mean",
        batch_statistics=quirk == "batch_statistics",
    )
    codec = Codec("jpeg", 50, subsampled=True) if quirk == "jpeg" else Codec()
    made = Distilled(material.held, labels, {})
    folder = artifacts.save(made, 8, recipe.student, codec, {}, tmp_path / "online")
    online, stored = artifacts.load(folder), artifacts.load(relabel(folder, tmp_path / "stored", wanted("stored")))
    assert torch.equal(online.data.images, material.held.images) == (quirk != "jpeg")
    for epoch in range(2):
        pairs = zip(online.loader(epoch=epoch), stored.loader(epoch=epoch), strict=True)
        for one, other in pairs:
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", FORMS)
def test_bytes_on_disk_are_those_of_the_formula(name: str, taught: Path, tmp_path: Path) -> None:
    options, how = FORMS[name]
    opened = artifacts.load(taught)
    for epochs, batch_size in ((3, 4), (7, 3)):
        optim = replace(opened.student.optim, epochs=epochs, batch_size=batch_size)
        given = artifacts.save_relabelled(
            taught, opened.labels, replace(opened.student, optim=optim), tmp_path / f"{epochs}"
        )
        made = relabel(given, tmp_path / f"{name}{epochs}", options)
        found = hd.info(made)
        formula = sizes.stored_bytes(4, 8, **{"epochs": epochs, "batch_size": batch_size, **how})
        assert found["labels"]["bytes"] == formula
        if options.name == "stored":
            assert options.stored_bytes(4, 2, epochs, batch_size) == formula
        assert found["labels"]["bytes"] == sum(p.stat().st_size for p in (made / "labels").iterdir())
        assert 0 < found["labels"]["index_bytes"] < found["labels"]["bytes"]
        assert found["teacher"]["bytes"] == 0


def test_a_recording_is_cut_into_files_at_the_end_of_an_epoch(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = relabel(taught, tmp_path / "whole", wanted("stored"))
    monkeypatch.setattr(sizes, "SHARD", 1)
    cut = relabel(taught, tmp_path / "cut", wanted("stored"))
    assert [len(list((f / "labels").iterdir())) for f in (whole, cut)] == [1, 3]
    assert hd.info(cut)["labels"]["bytes"] == sizes.stored_bytes(4, 8, 3, 4)
    pairs = zip(artifacts.load(whole).loader(epoch=2), artifacts.load(cut).loader(epoch=2), strict=True)
    for one, other in pairs:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_published_sizes_of_stored_labels() -> None:
    """2 E IPC C^2 bytes of logits: 572.2 MiB and 111.76 GiB on ImageNet-1K (HeLlO's figures 572 MB and 110 GB)."""
    for ipc, expected in ((1, 572.2 * 2**20), (200, 111.76 * 2**30)):
        views, columns = 300 * ipc * 1000, sizes.label_columns("float16", 1000)
        logits = views * sizes.tensor_bytes(*columns["logits"])
        assert logits == pytest.approx(expected, rel=1e-4)
        assert sizes.stored_bytes(1000, 1000 * ipc, 300, 1000) == pytest.approx(logits + 15 * views, rel=1e-3)
    assert sizes.view_bytes(sizes.label_columns("topk", 1000, 10)) == 4 * 10 + 15
    assert sizes.kept_batches(300, 1 / 40) == 7 and sizes.kept_batches(3, 1 / 40) == 1


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_size_of_a_safetensors_file_is_predicted(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    content = {
        "b": torch.zeros(3, 5, dtype=torch.float16),
        "a.scale": torch.zeros(7),
        "c": torch.zeros(2, 2, dtype=torch.int8),
        "nothing": torch.zeros(0, 4),
        "d": torch.zeros(1001, dtype=torch.float64),
    }
    names = {torch.float16: "F16", torch.float32: "F32", torch.int8: "I8", torch.float64: "F64"}
    layout = {name: (names[value.dtype], tuple(value.shape)) for name, value in content.items()}
    tensors.write(tmp_path / "x.safetensors", content, metadata)
    assert sizes.safetensors_bytes(layout, metadata) == (tmp_path / "x.safetensors").stat().st_size


@pytest.mark.parametrize("name", codecs.CODECS)
def test_the_size_of_a_recording_is_predicted_whatever_its_length(name: str, tmp_path: Path) -> None:
    """The header holds offsets, whose digits change its length: many lengths, not one."""
    kinds = {"BOOL": torch.bool, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn, "I16": torch.int16}
    kinds |= {"F16": torch.float16, "I32": torch.int32, "F32": torch.float32, "F64": torch.float64}
    for classes in (3, 10, 200):
        for views in (1, 2, 5, 8, 13, 40, 77, 99, 101, 333, 640, 999, 1007):
            layout = sizes.recording_layout(views, 1, sizes.label_columns(name, classes, 3))
            content = {key: torch.zeros(shape, dtype=kinds[kind]) for key, (kind, shape) in layout.items()}
            tensors.write(tmp_path / "x", content)
            assert (tmp_path / "x").stat().st_size == sizes.safetensors_bytes(layout), (classes, views)


def test_the_ipc_from_which_labels_are_larger() -> None:
    size = {ipc: 25 * ipc + 3 for ipc in range(1, 2000)}
    assert sizes.first_ipc_above(lambda ipc: 25 * ipc + 3, 1000) == next(i for i, s in size.items() if s > 1000)
    assert sizes.first_ipc_above(lambda ipc: 5, 1000) is None
    for limit in range(20, 300):
        assert sizes.first_ipc_above(lambda ipc: 25 * ipc + 3, limit) == next(i for i, s in size.items() if s > limit)


def test_the_ladder_counts_what_relabelling_writes(artefact: Path, taught: Path, tmp_path: Path) -> None:
    rungs = {rung["labels"]: rung for rung in hd.info(artefact)["ladder"]}
    assert "top-10 of pruned 10x" not in rungs  # of four classes
    made = relabel(artefact, tmp_path / "stored", wanted("stored"))
    assert rungs["stored float16"]["bytes"] == hd.info(made)["labels"]["bytes"]
    kept = hd.info(relabel(taught, tmp_path / "static", wanted("static")))["labels"]["bytes"]
    assert rungs["static float16"]["bytes"] == kept
    eighth = relabel(taught, tmp_path / "float8", wanted("quantized", codec="float8"))
    assert rungs["stored float8"]["bytes"] == hd.info(eighth)["labels"]["bytes"]
    for precision in ("float32", "float16", "int8", "int4"):
        small = relabel(artefact, tmp_path / precision, wanted("projector", precision=precision))
        assert rungs[f"projector {precision}"]["bytes"] == hd.info(small)["labels"]["bytes"]
    assert rungs["teacher float16"]["bytes"] == hd.info(taught)["teacher"]["bytes"]
    from_ipc = rungs["stored float16"]["smaller_from_ipc"]
    ours = hd.info(artefact)["labels"]["bytes"]
    assert sizes.stored_bytes(4, 4 * from_ipc, 3, 4) > ours >= sizes.stored_bytes(4, 4 * (from_ipc - 1), 3, 4)


def test_the_ladder_has_top_10_from_eleven_classes_on(artefact: Path) -> None:
    manifest = read_manifest(artefact)
    for classes in (10, 11):
        rungs = costs.ladder({**manifest, "classes": [str(number) for number in range(classes)]})
        assert ("top-10 of pruned 10x" in {rung["labels"] for rung in rungs}) == (classes == 11)


# Codecs.


def logits(rows: int = 50, classes: int = 12) -> torch.Tensor:
    return 8 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0))


def test_codecs_lose_no_more_than_their_step() -> None:
    given = logits()
    most = given.abs().amax(1, keepdim=True)
    for name, step in (("float32", 0 * most), ("float16", given.abs() * 2**-11), ("int8", most / 127 * 0.51)):
        kept = codecs.codec(name)
        assert ((kept.decode(kept.encode(given), 12) - given).abs() <= step + 1e-9).all(), name
    kept = codecs.codec("float8")
    assert ((kept.decode(kept.encode(given), 12) - given).abs() <= given.abs() / 16 + 2**-10).all()


def test_top_k_shares_all_probability_among_the_kept_classes() -> None:
    given, kept = logits(), codecs.TopK(3)
    found = kept.decode(kept.encode(given), 12)
    for row, back in zip(given, found, strict=True):
        best = sorted(range(12), key=lambda c: -row[c].item())[:3]
        assert sorted(torch.nonzero(torch.isfinite(back)).flatten().tolist()) == sorted(best)
        exact = F.softmax(row[best].half().float() / 4, 0)
        torch.testing.assert_close(F.softmax(back / 4, 0)[best], exact)
    assert torch.equal(codecs.TopK(99).decode(codecs.TopK(99).encode(given), 12), given.half().float())


def test_draws_with_and_without_replacement() -> None:
    without = Draw(replacement=False, seed=0)
    for epoch in range(3):
        assert sorted(without.numbers(8, 5, epoch)) == sorted(set(without.numbers(8, 5, epoch)))
        assert set(Counter(without.numbers(4, 10, epoch)).values()) <= {2, 3}
    drawn = list(itertools.chain(*(Draw(True, 0).numbers(8, 5, epoch) for epoch in range(400))))
    counts = Counter(drawn)
    assert set(counts) == set(range(8)) and all(abs(n - 250) < 60 for n in counts.values())
    assert Draw(True, 0).numbers(8, 5, 1) == Draw(True, 0).numbers(8, 5, 1) != Draw(True, 1).numbers(8, 5, 1)


def test_pruned_labels_show_the_views_that_were_kept_and_no_others(taught: Path, tmp_path: Path) -> None:
    every = artifacts.load(relabel(taught, tmp_path / "all", wanted("stored")))
    some = artifacts.load(relabel(taught, tmp_path / "some", wanted("pruned", keep=0.5)))
    kept = [*every.labels.views(0, ()), *every.labels.views(1, ())][: some.labels.kept.batches]
    assert len(kept) == 3
    for epoch in range(4):
        views = list(some.labels.views(epoch, ()))
        assert len(views) == 2
        for view in views:
            twin = kept[view.key]
            assert torch.equal(view.box, twin.box) and torch.equal(view.rows, twin.rows) and view.share == twin.share


@pytest.mark.parametrize("views", [1, 2, 7])
def test_so_many_labels_an_image_are_stored_and_drawn_from(views: int, taught: Path, tmp_path: Path) -> None:
    """Of three epochs' training; seven are more than it would ask for."""
    online = artifacts.load(taught)
    some = artifacts.load(relabel(taught, tmp_path / "some", wanted("stored", views=views)))
    pool = [view for epoch in range(views) for view in online.views(epoch=epoch)]
    kept = Counter(row for number in range(2 * views) for row in some.labels.kept.view(number).rows.tolist())
    assert kept == dict.fromkeys(range(8), views) and some.labels.kept.batches == len(pool)
    shown = Counter()
    for epoch in range(3 * views):
        if epoch % views == 0:
            assert len(shown) == epoch // views * len(pool), "each once, before any comes again"
        batches = list(some.labels.views(epoch, ()))
        assert len({view.key for view in batches}) == len(batches) == 2, "as many steps as any epoch has"
        for view in batches:
            twin = pool[view.key]
            assert torch.equal(view.rows, twin.rows) and torch.equal(view.box, twin.box)
            shown[view.key, epoch // views] += 1
            images = render(some.data.images, view)
            assert torch.equal(some.labels(images, view), online.labels(images, twin))
    assert set(shown.values()) == {1} and len(shown) == 3 * len(pool)
    orders = {tuple(view.key for view in some.labels.views(epoch, ())) for epoch in range(0, 20 * views, views)}
    assert len(orders) > 1, "in another order in another round"
    described = read_manifest(tmp_path / "some")
    assert described["labels"]["draw"] == {"replacement": False, "seed": 0, "rounds": True}
    seal(tmp_path / "some", labels={**described["labels"], "batches": described["labels"]["batches"] - 1})
    with pytest.raises(ArtifactError, match="drawn in rounds are not those of whole epochs"):
        artifacts.load(tmp_path / "some")


def test_static_labels_are_those_of_whole_images_mixed_by_share(taught: Path, tmp_path: Path) -> None:
    online = artifacts.load(taught)
    static = artifacts.load(relabel(taught, tmp_path / "s", wanted("static")))
    with torch.no_grad():
        expected = online.labels.members[0](online.data.images / 255).half().float()
    view = next(iter(sample_views(8, online.data.side, 8, Augment(), 0, 0)))
    found = static.labels(torch.zeros(8, 3, 32, 32), view)
    for place, row in enumerate(view.rows.tolist()):
        partner = view.rows[view.partner[place]].item()
        mixed = view.share * expected[row] + (1 - view.share) * expected[partner]
        torch.testing.assert_close(found[place], mixed, atol=2e-3, rtol=2e-3)
    assert hd.info(tmp_path / "s")["labels"]["bytes"] == sizes.safetensors_bytes({"logits": ("F16", (8, 4))})


# Teachers.


def test_norm_matched_labels_from_their_definition() -> None:
    members = [build("convnet2_w8", 4, 32, seed) for seed in (0, 1)]
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    view = next(iter(sample_views(5, 32, 5, Augment(), 0, 0)))
    plain = TeacherLabels(["convnet2_w8"] * 2, members, 32)
    matched = TeacherLabels(["convnet2_w8"] * 2, members, 32, "norm")
    with torch.no_grad():
        found = [member(images) for member in plain.members]
    mean_norm = sum(f.square().sum().sqrt() for f in found) / 2
    expected = sum(f * mean_norm / f.square().sum().sqrt() for f in found) / 2
    torch.testing.assert_close(matched(images, view), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(plain(images, view), sum(found) / 2, atol=1e-3, rtol=1e-3)


def test_a_teacher_with_batch_statistics_depends_on_its_batch() -> None:
    """What SRe2L's code for CIFAR does by leaving out eval(), and what ours does not."""
    member = build("convnet2_w8", 4, 32, 0)
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole, part = (next(iter(sample_views(n, 32, n, Augment(), 0, 0))) for n in (6, 3))
    quirk = TeacherLabels(["convnet2_w8"], [member], 32, batch_statistics=True)
    ours = TeacherLabels(["convnet2_w8"], [member], 32)
    before = quirk.members[0].backbone[1].running_mean.clone()
    assert not torch.allclose(quirk(images, whole)[:3], quirk(images[:3], part), atol=1e-3)
    assert not torch.equal(quirk.members[0].backbone[1].running_mean, before)
    assert torch.allclose(ours(images, whole)[:3], ours(images[:3], part), atol=1e-3)


# What goes wrong.


def test_more_epochs_than_were_stored_are_refused(taught: Path, tmp_path: Path) -> None:
    stored = artifacts.load(relabel(taught, tmp_path / "s", wanted("stored")))
    assert len(list(stored.loader(epoch=2))) == 2
    with pytest.raises(InputError, match="3 epochs are stored, and epoch 4"):
        next(iter(stored.loader(epoch=3)))


def test_batches_of_another_size_than_the_stored_ones_are_refused(taught: Path, tmp_path: Path) -> None:
    stored = artifacts.load(relabel(taught, tmp_path / "s", wanted("stored")))
    with pytest.raises(InputError, match="batches of 4 images, not of 8"):
        next(iter(stored.loader(batch_size=8)))


def test_stored_labels_cannot_label_anew(taught: Path, tmp_path: Path) -> None:
    stored = relabel(taught, tmp_path / "s", wanted("stored"))
    with pytest.raises(InputError, match="--source"):
        relabel(stored, tmp_path / "t", wanted("pruned"))
    assert not (tmp_path / "t").exists()
    again = relabel(stored, tmp_path / "t", wanted("pruned"), source=taught)
    assert storage.read_manifest(again)["labels"]["kind"] == "pruned"
    with pytest.raises(InputError, match="no projector here, but a teacher"):
        relabel(taught, tmp_path / "u", wanted("projector"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "prunned"}, "did you mean 'pruned'"),
        ({"kind": "pruned", "keep": 0.0}, "--keep 0.0"),
        ({"kind": "quantized", "codec": "int9"}, "did you mean 'int8'"),
        ({"kind": "stored", "views": 0}, "--views 0 keeps no label"),
        ({"kind": "quantized", "k": 0}, "at least one class"),
        ({"kind": "projector", "precision": "int5"}, "did you mean 'int8'|did you mean 'int4'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        wanted(**options)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("stored --codec int8", "--codec is for quantized labels, not stored"),
        ("stored --keep 0.1", "--keep is for pruned or quantized labels, not stored"),
        ("stored --k 10", "--k is for quantized labels, not stored"),
        ("pruned --views 3", "--views is for stored labels, not pruned"),
        ("hard --replacement true", "--replacement is for pruned or quantized labels, not hard"),
        ("static --precision int8", "--precision is for projector or teacher labels, not static"),
        ("static --seed 0", "--seed is for pruned or quantized or stored labels, not static"),
        ("quantized --codec int8 --k 5", "--k is for the codec topk, not int8"),
        ("storred --codec int8", "unknown kind of labels 'storred': did you mean 'stored'?"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    given: str, told: str, taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where what is given is the default."""
    assert cli.main(["labels", str(taught), "--kind", *given.split(), "--out", str(tmp_path / "a")]) == 2
    assert capsys.readouterr().err.startswith(f"hello-distill: {told}")
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_command_reach_the_labels(taught: Path, tmp_path: Path) -> None:
    what = ["--kind", "quantized", "--codec", "int8", "--keep", "0.5", "--seed", "3", "--out", str(tmp_path / "a")]
    assert cli.main(["labels", str(taught), *what]) == 0
    made = relabel(taught, tmp_path / "b", wanted("quantized", codec="int8", keep=0.5, seed=3))
    kept = [read_manifest(folder)["labels"] for folder in (tmp_path / "a", made)]
    assert kept[0] == kept[1] and kept[0]["codec"] == {"name": "int8"}
    assert kept[0]["batches"] == 3  # of the six of a training


@pytest.mark.parametrize("k", [4, 10])
def test_top_k_of_no_more_classes_is_refused(k: int, taught: Path, tmp_path: Path) -> None:
    told = f"--k {k} of 4 classes keeps every logit and its class, which takes more bytes than float16 labels; give a"
    with pytest.raises(InputError, match=f"{told} --k of 1 or less, or --codec float8"):
        relabel(taught, tmp_path / "a", wanted("quantized", k=k))
    assert list(tmp_path.iterdir()) == []
    for advised in (wanted("quantized", k=1), wanted("quantized", codec="float8")):
        made = relabel(taught, tmp_path / advised.codec, advised)
        assert hd.info(made)["labels"]["bytes"] < hd.info(made)["ladder"][0]["bytes"]  # stored float16


def test_top_k_of_recorded_comparisons_is_let() -> None:
    """And of two classes no k is worth it."""
    find_comparison("small").labels["quantized"].check(classes=10)
    with pytest.raises(InputError, match="labels; give --codec float8"):
        wanted("quantized", k=2).check(classes=2)


def test_a_teacher_of_another_size_is_refused(taught: Path, tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    small = replace(recipe, max_side=16, distiller=RDED(recipe.distiller.patches))
    other = distill(str(tree), tmp_path / "small", small)
    with pytest.raises(InputError, match="images of 16 pixels"):
        relabel(taught, tmp_path / "x", wanted("stored"), source=other)


def test_sixteen_bits_hold_what_is_counted_in_them(material: Material) -> None:
    with pytest.raises(InputError, match="16 bits"):
        Plan(material.train, HardLabels(material.train.targets, 4), codecs.Plain(), Augment(), 2**15, 0, 1)


def test_a_broken_recording_is_refused(taught: Path, tmp_path: Path) -> None:
    stored = relabel(taught, tmp_path / "s", wanted("stored"))
    file = stored / "labels" / "00000.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(ArtifactError, match=f"has {len(whole) - 3} bytes and should have {len(whole)}"):
        artifacts.load(stored)
    seal(stored)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(stored)
    file.write_bytes(whole)
    columns = tensors.read(file)
    for name, place, value, told in (
        ("rows", 0, 8, "view 0 leads outside of the images"),
        ("partner", 5, 4, "view 1 leads outside of the images"),
        ("box", (2, 2), 0, "view 0 leads outside of the images"),
        ("hole", (1, 2), 33, "view 1 leads outside of the images"),
        ("share", 2, 1.5, "view 2 leads outside of the images"),
        ("logits", (0, 1), torch.inf, "logits holds a number that is not finite"),
        ("length", 0, 3, "batches of other sizes than a training on these images has"),
    ):
        changed = {key: column.clone() for key, column in columns.items()}
        changed[name][place] = value
        safetensors.torch.save_file(changed, file)
        seal(stored)
        with pytest.raises(ArtifactError, match=told):
            artifacts.load(stored)
    tensors.write(file, {**columns, "more": torch.zeros(1)})
    seal(stored)
    with pytest.raises(ArtifactError, match=r"more is .* and should be absent"):
        artifacts.load(stored)


def test_relabelling_keeps_the_images_byte_for_byte(taught: Path, tmp_path: Path) -> None:
    made = relabel(taught, tmp_path / "s", wanted("hard"))
    assert (made / IMAGES).read_bytes() == (taught / IMAGES).read_bytes()
    assert isinstance(artifacts.load(made), Artifact)
    found = hd.info(made)
    assert (found["labels"]["bytes"], found["teacher"]["bytes"]) == (0, 0)


# A teacher in integers.


@pytest.mark.parametrize(("precision", "most"), [("int8", 127), ("int4", 7)])
def test_a_teacher_in_integers_from_the_definition(precision: str, most: int, material: Material) -> None:
    model = build("convnet2_w8", 4, 32, 0).eval()
    labels = TeacherLabels(["convnet2_w8"], [model], 32).rounded(precision)
    before, after = model.state_dict(), labels.members[0].state_dict()
    for name, weight in before.items():
        if name.endswith("num_batches_tracked"):
            continue
        half = weight.half().float()
        if weight.ndim < 2:
            assert torch.equal(after[name], half), name
            continue
        for channel, kept in zip(half, after[name], strict=True):
            shares = precisions.SHARES if precision == "int4" else (1.0,)
            scales = [share * channel.abs().max().item() / most for share in shares]
            rounded = [
                [max(-most, min(most, round(v / scale))) * scale for v in channel.flatten().tolist()]
                for scale in scales
            ]
            gaps = [sum((a - b) ** 2 for a, b in zip(r, channel.flatten().tolist(), strict=True)) for r in rounded]
            expected = rounded[gaps.index(min(gaps))]
            torch.testing.assert_close(kept.flatten(), torch.tensor(expected), rtol=1e-5, atol=1e-6)
    images = material.held.images[:5].float() / 255
    gap = (labels(images, views_of(5)) - TeacherLabels(["convnet2_w8"], [model], 32)(images, views_of(5))).abs().max()
    assert 0 < gap < {"int8": 0.05, "int4": 1.0}[precision]


def views_of(count: int) -> View:
    return next(iter(sample_views(count, 32, count, Augment(mix="none"), 0, 0)))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_teacher_in_integers_is_saved_and_loaded_bit_for_bit(
    precision: str, kinds: dict[str, Path], tmp_path: Path, material: Material
) -> None:
    folder = relabel(kinds["teacher"], tmp_path / "a", wanted("teacher", precision=precision))
    taken = costs.info(folder)["teacher"]["bytes"]
    assert taken == sum(file.stat().st_size for file in (folder / "teacher").iterdir())
    assert taken < costs.info(kinds["teacher"])["teacher"]["bytes"]
    made = load_labels(kinds["teacher"]).rounded(precision)
    images = material.held.images[:5].float() / 255
    assert torch.equal(load_labels(folder)(images, views_of(5)), made(images, views_of(5)))
    assert read_manifest(folder)["labels"]["precision"] == precision
    assert "precision" not in read_manifest(kinds["teacher"])["labels"], "as artefacts of 0.1.0 have it"
    again = relabel(folder, tmp_path / "b", wanted("teacher", precision=precision))
    assert (again / "teacher/0.safetensors").read_bytes() == (folder / "teacher/0.safetensors").read_bytes()


def load_labels(folder: Path) -> TeacherLabels:
    return artifacts.load(folder).labels


def test_a_teacher_has_no_precision_of_a_projector() -> None:
    with pytest.raises(InputError, match="unknown precision 'float32' of a teacher"):
        wanted("teacher", precision="float32")


def test_probabilities_are_what_students_are_trained_on(material: Material, recipe: Recipe) -> None:
    """A label source of another package may smooth classes: its labels count, not the classes behind them."""
    data = material.train.rows(torch.tensor([0, 30, 60]))
    training = TrainingSet(data, HardLabels(data.targets, 4), recipe.student)
    prediction = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    smooth, hard = torch.full((3, 4), 0.25), F.one_hot(data.targets, 4).float()
    expected = -(prediction.log_softmax(1) * 0.25).sum(1).mean()
    torch.testing.assert_close(training.student_loss()(prediction, smooth, hard), expected)
