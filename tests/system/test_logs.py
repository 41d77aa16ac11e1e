"""Curves of trainings as TensorBoard reads them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import drawn
from hello_distill.artifact import load
from hello_distill.data.images import Material
from hello_distill.distillers.recipe import Recipe
from hello_distill.format.sizes import num_batches
from hello_distill.stages import Stages
from hello_distill.student import train_student
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError, MachineError
from hello_distill.system.logs import Log
from hello_distill.training.rounds import in_rounds
from hello_distill.training.scores import Faithfulness, top1


def curve(folder: Path, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def test_a_student_s_curves_are_what_it_reports(artefact: Path, tmp_path: Path) -> None:
    artifact = load(artefact)
    with Context(log=Log(tmp_path)):
        score = train_student(artifact, drawn(4, seed=9), seed=0)
    with Context(log=Log(tmp_path)):
        train_student(artifact, drawn(4, seed=9), seed=0)
    optim, folder = artifact.student.optim, tmp_path / "student-seed-0"
    steps = num_batches(len(artifact.data), optim.batch_size)
    assert [*curve(folder, "loss")] == [*curve(folder, "rate")] == [*range(steps * optim.epochs)]
    assert curve(folder, "rate")[0] == pytest.approx(optim.lr)
    assert curve(folder, "top1") == pytest.approx({epoch * steps: top1 for epoch, top1 in score.top1.items()})
    again = tmp_path / "student-seed-0-2"
    assert curve(again, "loss") == curve(folder, "loss"), "a second training has a folder of its own"
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, again.name]


def test_what_comes_after_a_checkpoint_is_logged_once(tmp_path: Path) -> None:
    for first, steps in ((0, range(5)), (3, range(3, 6))):
        log = Log(tmp_path)
        curves = log.begin("teachers", first)
        for step in steps:
            curves.add_scalar("loss", 10 * (first > 0) + step, step)
        log.close()
    assert curve(tmp_path / "teachers", "loss") == {0: 0, 1: 1, 2: 2, 3: 13, 4: 14, 5: 15}


def test_what_goes_on_is_the_training_that_began_last(tmp_path: Path) -> None:
    for first, values in ((0, (1.0, 1.0)), (0, (2.0, 2.0)), (1, (3.0,))):
        log = Log(tmp_path)
        curves = log.begin("teachers", first)
        for step, value in enumerate(values, first):
            curves.add_scalar("loss", value, step)
        log.close()
    assert curve(tmp_path / "teachers", "loss") == {0: 1.0, 1: 1.0}
    assert curve(tmp_path / "teachers-2", "loss") == {0: 2.0, 1: 3.0}


def test_rounds_are_logged_with_their_errors(tmp_path: Path) -> None:
    with Context(log=Log(tmp_path)):
        _, errors = in_rounds(
            8.0, lambda number, best: best / 2, lambda fit: Faithfulness(10 - fit, fit), 3, 0.1, "queries"
        )
    assert curve(tmp_path / "queries-rounds", "agreement on unseen views") == {0: 2.0, 1: 6.0, 2: 8.0, 3: 9.0}
    assert curve(tmp_path / "queries-rounds", "error on unseen views") == dict(enumerate(errors))


def test_without_tensorboard_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MachineError, match=r"--log needs tensorboard; pip install 'hello-distill\[log\]'"):
        Log(tmp_path)
    Log()


def test_a_log_is_a_folder(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    for named in ("", file, file / "below"):
        with pytest.raises(InputError, match=f"--log {str(named)!r} is no folder"):
            Log(named)


def test_a_log_that_cannot_be_written_is_told_by_its_option() -> None:
    with pytest.raises(MachineError, match="--log /proc/log cannot be written: No such file or directory; name"):
        Log("/proc/log").begin("teachers")


def test_what_stages_reach_on_held_out_images_is_logged_by_steps(
    material: Material, recipe: Recipe, tmp_path: Path
) -> None:
    with Context(log=Log(tmp_path)):
        stages = Stages(material, recipe.teachers, 0, augment=recipe.student.augment)
        spec = replace(recipe.distiller.projector, queries=None, rounds=1)
        figures = stages.projector(spec).figures
    teachers = curve(tmp_path / "teachers-held-out-images", "top1")
    batches = num_batches(len(material.train), recipe.teachers.optim.batch_size)
    assert [*teachers] == [epoch * batches for epoch in recipe.teachers.weak_epochs]
    members = stages.teachers().ensemble.members
    assert [*teachers.values()] == pytest.approx([top1(member, material.held) for member in members])
    projector = curve(tmp_path / "projector-held-out-images", "top1")
    steps = max(curve(tmp_path / "projector", "loss")) + 1
    assert projector == pytest.approx({0: figures["zero_shot_top1"], steps: figures["projector_top1"]})
