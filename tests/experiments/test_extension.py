"""A projector that is extended as classes arrive: what it keeps and adds, what it is fitted on, what it gains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from hello_distill.data.images import Material
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.encoders.encoder import Encoder
from hello_distill.experiments.arrivals import Arrivals, kept
from hello_distill.experiments.extension import Extended, Extensions, at_hand, grown
from hello_distill.experiments.grid import Bench, Comparison, Contender
from hello_distill.format.specs import Optim, Queries
from hello_distill.labels.projector import HEAD
from hello_distill.projector import (
    Adapter,
    Projector,
    ProjectorSpec,
    adapted,
    drawn_matrices,
    fit_projector,
    restore,
    zero_shot,
)
from hello_distill.queries import UNSEEN, labelled_views, on_views
from hello_distill.teachers import TeacherSpec, train_teachers
from hello_distill.views import whole

CLASSES = ("circle", "cross", "square", "stripes")
KNOWN = (0, 2)
"""Places of the classes that came first."""


@pytest.fixture(scope="module")
def spec(recipe: Recipe) -> ProjectorSpec:
    return replace(recipe.distiller.projector, precision="float32")


def fitted_before(tiny: Encoder, spec: ProjectorSpec, head_rank: int) -> tuple[Projector, Adapter]:
    """A projector of the first classes, and an adapter with numbers in all of its matrices."""
    start = zero_shot(tiny, [CLASSES[place] for place in KNOWN], spec)
    drawn = drawn_matrices(start, adapted(tiny, spec), 2, head_rank, seed=5)
    generator = torch.Generator().manual_seed(5)
    matrices = {name: 0.2 * torch.randn(matrix.shape, generator=generator) for name, matrix in drawn.items()}
    return start, Adapter(matrices, matrices, "float32", adapted(tiny, spec), 2, head_rank, 7.5, spec.normalize)


@pytest.mark.parametrize("head_rank", [1, 3])
def test_known_classes_keep_their_logits_and_new_ones_are_zero_shot(
    head_rank: int, tiny: Encoder, spec: ProjectorSpec, material: Material
) -> None:
    """The head of four classes has rank 3 by its rule (4 * 32 / 36), and what had rank 1 grows."""
    small, adapter = fitted_before(tiny, spec, head_rank)
    more = grown(adapter, CLASSES, KNOWN, spec, seed=0)
    assert (more.head_rank, more.encoder_rank, more.scale, more.precision) == (3, 2, 7.5, "float32")
    before, after = restore(small, adapter), restore(zero_shot(tiny, CLASSES, spec), more)
    images = whole(material.held.images)
    with torch.no_grad():
        old, new = before(images), after(images)
        features = before.encode(images)
        text = F.normalize(tiny.encode_text([spec.templates[0].format(CLASSES[place]) for place in (1, 3)]), dim=1)
    torch.testing.assert_close(new[:, KNOWN], old, rtol=0, atol=1e-6 * old.abs().max().item())
    torch.testing.assert_close(new[:, (1, 3)], 7.5 * features @ text.T, rtol=0, atol=1e-5)
    assert (old - small(images)).abs().max() > 0.01, "the adapter says something"


def test_what_is_added_is_drawn_as_lora_draws_it(tiny: Encoder, spec: ProjectorSpec) -> None:
    _, adapter = fitted_before(tiny, spec, 1)
    more, again = (grown(adapter, CLASSES, KNOWN, spec, seed=4) for _ in range(2))
    other = grown(adapter, CLASSES, KNOWN, spec, seed=5)
    assert more.fingerprint() == again.fingerprint() != other.fingerprint()
    drawn = drawn_matrices(zero_shot(tiny, CLASSES, spec), adapted(tiny, spec), 2, 3, seed=4)
    (name_a,) = [name for name in drawn if f".{HEAD}.lora_A" in name]
    (name_b,) = [name for name in drawn if f".{HEAD}.lora_B" in name]
    assert torch.equal(more.matrices[name_a], torch.cat([adapter.matrices[name_a], drawn[name_a][1:]]))
    expected = torch.zeros(4, 3)
    expected[0, 0], expected[2, 0] = adapter.matrices[name_b].flatten()
    assert torch.equal(more.matrices[name_b], expected) and drawn[name_a][1:].abs().min() > 0
    others = set(drawn) - {name_a, name_b}
    assert all(torch.equal(more.matrices[name], adapter.matrices[name]) for name in others)
    high = replace(adapter, matrices=drawn_matrices(zero_shot(tiny, CLASSES[:2], spec), adapted(tiny, spec), 2, 9, 0))
    assert grown(replace(high, head_rank=9), CLASSES, KNOWN, spec, 0).head_rank == 9, "a rank that was given stays"


def test_a_step_has_the_originals_of_new_classes_and_the_kept_images_of_others(material: Material) -> None:
    """24 originals of each new class; of two earlier ones 3 images each are kept, which makes 24 in 8 copies."""
    originals = material.train
    rows = torch.cat([material.held.of_class(target)[:3] for target in range(4)])
    images = material.held.rows(rows)
    data = at_hand(originals, images, [1, 3])
    assert data.classes == originals.classes and data.counts() == dict.fromkeys(originals.classes, 24)
    for target in (1, 3):
        assert torch.equal(data.images[data.of_class(target)], originals.images[originals.of_class(target)])
    for target in (0, 2):
        copies = data.images[data.of_class(target)].unflatten(0, (8, 3))
        assert torch.equal(copies, images.images[images.of_class(target)].expand(8, -1, -1, -1, -1))
    few = at_hand(originals.rows(originals.of_class(1)[:2]), images, [1])
    assert list(few.counts().values()) == [3, 2, 3, 3], "no kept image is left out"


def test_fitting_goes_on_from_the_adapter(tiny: Encoder, spec: ProjectorSpec, material: Material) -> None:
    """With a rate of zero it stays where it was, scale included; with another it moves, and the original does not."""
    _, adapter = fitted_before(tiny, spec, 1)
    more = grown(adapter, CLASSES, KNOWN, spec, seed=0)
    data = replace(material.train, classes=CLASSES)
    teacher = train_teachers(data, TeacherSpec("convnet2_w8", (1,), optim=Optim(1, 32)), 0).observer

    def fitted(lr: float) -> Adapter:
        changed = replace(spec, optim=Optim(1, 32, lr, weight_decay=0.0))
        return fit_projector(zero_shot(tiny, CLASSES, spec), tiny, data, teacher, changed, 0, more)

    fingerprint = more.fingerprint()
    assert fitted(0.0).fingerprint() == fingerprint
    moved = fitted(1e-3)
    assert moved.fingerprint() != fingerprint == more.fingerprint()
    assert all((moved.matrices[name] - matrix).abs().max() < 0.02 for name, matrix in more.matrices.items()), "near"
    assert (moved.scale, moved.head_rank) == (7.5, 3)


class Chain:
    """Two steps of two classes each, extended, with queries that are enough to learn something."""

    def __init__(self, tree: Path, recipe: Recipe, work: Path) -> None:
        teachers = replace(recipe.teachers, weak_epochs=(8,), optim=replace(recipe.teachers.optim, epochs=8))
        queries = Queries(steps=40, rounds=1, batch_size=8, lr=1e-2)
        optim = replace(recipe.distiller.projector.optim, epochs=2)
        projector = replace(recipe.distiller.projector, queries=queries, encoder_rank=4, optim=optim)
        method = replace(recipe.distiller, projector=projector)
        base = replace(recipe, teachers=teachers, distiller=method)
        contenders = {"random": Contender(RandomImages()), "hello": Contender(method)}
        self.spec = projector
        self.augment = recipe.student.augment
        self.bench = Bench(str(tree), Comparison(base, contenders, projector, {2: (1, 4)}, labels={}), work)
        self.arrivals = Arrivals.drawn(4, 2, seed=0)
        self.folders = [self.bench.only(self.arrivals.seen(step)).images("random", 2, 0) for step in (1, 2)]

    def extended(self, steps: int = 2) -> Extended:
        """Of so many steps, by calls that share nothing but what is on disk."""
        made = Extensions(self.bench)("hello", self.arrivals, self.folders[:steps])
        assert made is not None
        return made


@pytest.fixture(scope="module")
def chain(tree: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return Chain(tree, recipe, tmp_path_factory.mktemp("chain"))


def test_an_extended_projector_gains_on_views_that_no_fit_has_seen(chain: Chain) -> None:
    first, second = chain.extended(1), chain.extended()
    seen = chain.arrivals.seen(2)
    classes = chain.bench.material.train.classes
    images, _ = kept(classes, chain.arrivals, chain.folders)
    known = [seen.index(target) for target in chain.arrivals.seen(1)]
    more = grown(first.labels.adapter, classes, known, chain.spec, chain.bench.comparison.base.seed)
    observer = chain.bench.stages().teachers().observer
    views = labelled_views(images, chain.augment, observer, 8, 3 * UNSEEN)
    errors = [on_views(restore(second.labels.start, adapter), views).error for adapter in (more, second.labels.adapter)]
    assert errors[1] < 0.7 * errors[0]
    assert (first.labels.adapter.head_rank, second.labels.adapter.head_rank) == (1, 3)
    assert second.labels.adapter.scale == first.labels.adapter.scale
    assert {"projector_top1", "view_agreement", "view_error"} <= second.figures.keys()


def test_the_same_seed_gives_the_same_bytes_anew_and_from_the_cache(
    chain: Chain, tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions = Extensions(chain.bench)
    made = extensions("hello", chain.arrivals, chain.folders)
    assert made is not None
    assert extensions("hello", chain.arrivals, []) is None, "nothing was seen"
    anew = Chain(tree, recipe, tmp_path).extended()
    monkeypatch.setattr("hello_distill.stages.fit_projector", None)
    monkeypatch.setattr("hello_distill.stages.fit_queries", None)
    for again in (anew, chain.extended()):
        stored = again.labels.adapter.kept
        assert all(torch.equal(stored[name], matrix) for name, matrix in made.labels.adapter.kept.items())


def test_query_fits_of_two_ways_to_the_same_classes_are_kept_apart(chain: Chain) -> None:
    """Of the same ranks, classes and images, from the extended projector and from one fitted from nothing."""
    images, _ = kept(chain.bench.material.train.classes, chain.arrivals, chain.folders)
    extended = chain.extended().labels.adapter
    stages = chain.bench.stages()
    anew = stages.projector(chain.spec)
    refitted = stages.queried(chain.spec, anew, anew.adapter, images).rounded(chain.spec.precision)
    assert refitted.head_rank == extended.head_rank and anew.origin == ()
    assert refitted.fingerprint() != extended.fingerprint()
