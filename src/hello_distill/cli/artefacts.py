"""The commands that make artefacts and look into them: distill, labels, export, info, verify."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from hello_distill.cli.options import (
    ArgumentParser,
    add_artefact,
    add_json,
    add_log,
    add_part,
    add_reading,
    add_resume,
    add_squares,
    add_teacher,
    add_test,
    read_config,
)
from hello_distill.cli.output import say_ready, show
from hello_distill.data.references import check_there
from hello_distill.system import distributed, publishing
from hello_distill.system.claims import claimed
from hello_distill.system.errors import InputError, MachineError

if TYPE_CHECKING:
    from hello_distill.distillers.recipe import Recipe


def distill_options(parser: ArgumentParser) -> None:
    """Distil images into a few per class and a light projector for their labels."""
    parser.add_argument(
        "data",
        help="folder with train/CLASS/ or class folders alone; a zip or tar of one; a CSV or JSON Lines file of paths "
        "and classes; WebDataset shards; a .npz or Parquet file; a data set of torchvision or Hugging Face in its "
        "folder; a Hub id (owner/name, owner/name:CONFIGURATION, hf://owner/name@REVISION); or fashion-mnist; "
        "with :classes=FILE behind it, only "
        "the classes that FILE names, one a line",
    )
    parser.add_argument("--out", required=True, help="folder for the artefact; must not exist yet")
    parser.add_argument("--ipc", type=PositiveInt, help="images per class (default: the recipe's)")
    parser.add_argument(
        "--encoder",
        help="RN50-quickgelu/openai (the paper's), any open_clip model/pretrained, local-dir:PATH, or lite (offline)",
    )
    parser.add_argument(
        "--recipe",
        help="paper (for a GPU), imagenet100 and imagenet1k (the same, batches by IPC), cpu (photographs, two cores), "
        "demo (28 pixels, minutes), hello-small and hello-many (32 pixels), or a method to compare with as its code "
        "runs it: random, rded, sre2l, gvbsm, and rded-small, sre2l-small, gvbsm-small for 32 pixels "
        "(default: by device, size of the images and classes; without a name, those that fit this machine are listed)",
    )
    parser.add_argument(
        "--labels",
        default="own",
        help="the method's own (own); hard, static, teacher, teacher-int8, teacher-int4, projector, projector-int8 or "
        "projector-int4; what `plan` would recommend (auto), or what one has recommended: the file that it wrote",
    )
    add_teacher(parser)
    add_squares(parser)
    parser.add_argument("--label-bytes", help="maximum size of the projector, e.g. 200KB")
    parser.add_argument("--seed", type=NonNegativeInt, help="random seed (default: the recipe's)")
    parser.add_argument(
        "--short-class",
        choices=["error", "repeat", "fewer"],
        default="error",
        help="classes with too few images: stop, use their images again, or make fewer of them",
    )
    add_reading(parser)
    add_resume(parser)
    add_log(parser)
    parser.add_argument("--skipped", help="JSON file that lists the images that were left out, and why")
    parser.add_argument("--stages", help="folder for trained teachers and projectors; runs that name it share them")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="time a few batches of each stage and say what the whole would take; nothing is written",
    )
    parser.add_argument(
        "--forecast",
        action="store_true",
        help="say what --dry-run says first, and at the end what it took beside that",
    )
    parser.add_argument(
        "--assume",
        nargs="+",
        default=[],
        metavar="NAME=NUMBER",
        help="with --dry-run: for other numbers than the data's, of images, classes, ipc",
    )
    parser.add_argument(
        "--config",
        help="JSON or YAML file that changes fields of the recipe; an artefact's config.json repeats its run",
    )


def distill(options: Namespace) -> None:
    """Run `hello-distill distill`."""
    if options.assume and not options.dry_run:
        raise InputError("--assume is for --dry-run; give both, or leave it out")
    with claimed(options.out), distributed.joined():
        if options.stages is not None:
            publishing.check_writable(Path(options.stages))
        check_there(options.data)
        recipe = chosen_recipe(options)
        from hello_distill import api

        if options.dry_run or options.forecast:
            check_forecast(options)
        if options.dry_run:
            dry_run(options, recipe)
            return
        run_options = {name: options[name] for name in ("stages", "skipped", "short_class")}
        if options.labels != "own":
            folder = distill_planned(options, recipe)
        elif options.forecast:
            folder = distill_foretold(
                options, recipe, lambda: api.distill(options.data, options.out, recipe, **run_options)
            )
        else:
            folder = api.distill(options.data, options.out, recipe, **run_options)
    say_ready(folder)


def distill_planned(options: Namespace, recipe: Recipe) -> Path:
    """Run `hello-distill distill` with other labels than the method's own."""
    from hello_distill.experiments import plan
    from hello_distill.recipes import PLANNED

    usual = {"short_class": "error", "skipped": None, "label_bytes": None}
    if asked := [name for name, value in usual.items() if options[name] != value]:
        shown = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise InputError(f"--labels {options.labels} goes without {shown}; leave that out, or --labels")
    return plan.distill_planned(options.data, options.out, recipe, PLANNED, options.stages, options.labels)


def chosen_recipe(options: Namespace) -> Recipe:
    """The named recipe, or the one that suits these images on this machine, with what the options change."""
    changes = read_config(options.config) if options.config else {}  # before torch, which takes seconds to import
    from hello_distill.labels.sources.budget import parse_bytes
    from hello_distill.recipes import find

    # Before the recipe is chosen: of some names it depends on the images per class, which a --config may give.
    ipc = changes.get("ipc") if options.ipc is None else options.ipc
    name = options.recipe or suited_recipe(options.data, changes)
    recipe = find(name, ipc if isinstance(ipc, int) else None).with_changes(changes)
    recipe = recipe.with_encoder(options.encoder) if options.encoder else recipe
    recipe = recipe.with_own_teachers(options.teacher) if options.teacher else recipe
    recipe = recipe.with_label_bytes(parse_bytes(options.label_bytes)) if options.label_bytes is not None else recipe
    warn_if_made_for_gpu(name, recipe)
    overrides = {name: options[name] for name in ("ipc", "seed", "size", "square") if options[name] is not None}
    return replace(recipe, **overrides)


def check_forecast(options: Namespace) -> None:
    """Raise InputError for runs that no forecast is made of."""
    asked = "--dry-run" if options.dry_run else "--forecast"
    if options.dry_run and options.forecast:
        raise InputError("--dry-run says what --forecast says and ends there; leave one of them out")
    if options.labels != "own":
        raise InputError(f"{asked} is for the method's own labels; leave --labels out")
    if distributed.launched().processes > 1:
        raise InputError(f"{asked} times one process; start it without torchrun")


def distill_foretold(options: Namespace, recipe: Recipe, run: Callable[[], Path]) -> Path:
    """Run `hello-distill distill --forecast`."""
    from hello_distill.experiments import forecast
    from hello_distill.report import terminal

    said = forecast.forecast(options.data, recipe, [], options.short_class)
    show(said, terminal.forecast, as_json=False)
    folder, result = forecast.beside_truth(said, run)
    show(result, terminal.beside_truth)
    return folder


def dry_run(options: Namespace, recipe: Recipe) -> None:
    """Say what a distillation would take."""
    from hello_distill.experiments.forecast import forecast
    from hello_distill.report import terminal

    show(forecast(options.data, recipe, options.assume, options.short_class), terminal.forecast, as_json=False)


def suited_recipe(data: str, changes: Mapping[str, Any]) -> str:
    """The recipe that suits these images on this machine, and why, on standard error; of a whole one nothing is said.

    A --config file that holds a whole recipe, as an artefact's does, replaces all that `paper` has.
    """
    if {"method", "teachers", "student"} <= set(changes):
        return "paper"
    from hello_distill.data.sources import open_training
    from hello_distill.recipes import suited
    from hello_distill.system.machine import device

    train = open_training(data)
    side, on = train.native_side(), "this processor" if device() == "cpu" else "a GPU"
    name = suited(device(), side, len(train.classes))
    if distributed.launched().rank == 0:
        note = (
            f"recipe: {name}, for images of {side} pixels and {len(train.classes)} classes on {on}; --recipe NAME "
            "chooses another, and `hello-distill --recipe` lists those that fit this machine"
        )
        print(note, file=sys.stderr, flush=True)
    return name


def warn_if_made_for_gpu(name: str, recipe: Recipe) -> None:
    """Say on standard error that a recipe is made for a GPU, where there is none and --config has not made it lighter.

    The first of several processes says it.
    """
    from hello_distill.recipes import FOR_A_GPU, find
    from hello_distill.system.machine import device
    from hello_distill.teachers import only_last

    unchanged_recipe = find(name)
    usual, actual = ((each.max_side, only_last(each.teachers)) for each in (unchanged_recipe, recipe))
    if name in FOR_A_GPU and actual == usual and device() == "cpu" and distributed.launched().rank == 0:
        note = (
            f"note: the recipe {name} is made for a GPU; on this machine's processor ten thousand photographs take it "
            "a day or more, and --recipe cpu minutes"
        )
        print(note, file=sys.stderr, flush=True)


def labels_options(parser: ArgumentParser) -> None:
    """Write an artefact with the same images and other labels."""
    from hello_distill.labels import kinds, label_options

    add_artefact(parser)
    parser.add_argument("--kind", required=True, help=", ".join(kinds()))
    parser.add_argument("--out", required=True, help="folder for the new artefact; must not exist yet")
    parser.add_argument("--source", help="artefact whose teacher or projector makes the labels (default: the same)")
    for name, kind, text in label_options():
        parser.add_argument(f"--{name}", type=kind, default=None, help=text)


def labels(options: Namespace) -> None:
    """Run `hello-distill labels`."""
    with claimed(options.out):
        from hello_distill.labels import label_options
        from hello_distill.relabel import relabel, wanted

        kind_options = {name: options[name] for name, _, _ in label_options() if options[name] is not None}
        folder = relabel(options.artefact, options.out, wanted(options.kind, **kind_options), options.source)
    say_ready(folder)


def export_options(parser: ArgumentParser) -> None:
    """Write an artefact's images, or its projector, as files that other tools read."""
    add_artefact(parser)
    parser.add_argument("--out", required=True, help="folder for the files; must not exist yet")
    parser.add_argument(
        "--to",
        choices=["imagefolder", "webdataset", "onnx"],
        default="imagefolder",
        help="a folder for each class, a tar file of images and classes, or the projector as ONNX (extra `onnx`)",
    )
    add_part(parser)


def export(options: Namespace) -> None:
    """Run `hello-distill export`."""
    with claimed(options.out):
        from hello_distill.export import export as write

        folder = write(options.artefact, options.out, options.ipc, options.to)
    print(f"{folder} is ready")


def info_options(parser: ArgumentParser) -> None:
    """Say what an artefact holds and what it costs, in bytes."""
    add_artefact(parser)
    add_json(parser)


def info(options: Namespace) -> None:
    """Run `hello-distill info`."""
    from hello_distill.format import costs
    from hello_distill.report import terminal

    show(costs.info(options.artefact), terminal.info, options.json)


def verify_options(parser: ArgumentParser) -> None:
    """Check that an artefact is what it says: hashes, shapes, numbers, class order."""
    add_artefact(parser)
    parser.add_argument("--data", help="labelled images to compare the order of classes with: its test split")
    add_test(parser)
    parser.add_argument("--teacher", help="an artefact whose teacher or projector to compare the order of classes with")
    add_reading(parser, artefact=True)
    add_json(parser)


def verify(options: Namespace) -> None:
    """Run `hello-distill verify`."""
    from hello_distill import api
    from hello_distill.report import terminal

    result = api.verify(options.artefact, options.data, options.teacher, options.test)
    show(result, terminal.verification, options.json)
    if result["not_checked"]:
        raise MachineError(f"not all of {options.artefact} could be checked on this machine; see above")
