"""The commands that fill result files: compare, continual, study; the demo, and what to ship."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from hello_distill.cli.artefacts import suited_recipe
from hello_distill.cli.options import (
    READING,
    ArgumentParser,
    add_json,
    add_reading,
    add_resume,
    add_teacher,
    read_config,
)
from hello_distill.cli.output import show
from hello_distill.data.references import check_there
from hello_distill.system import publishing
from hello_distill.system.claims import claimed
from hello_distill.system.context import Context

if TYPE_CHECKING:
    from hello_distill.experiments.continual import Continual
    from hello_distill.experiments.grid import Comparison
    from hello_distill.experiments.study import Study

    Taught = Comparison | Study | Continual


def add_result(parser: ArgumentParser, recipes: str, recipe: str | None = "small") -> None:
    """The first options of all commands that fill a result file; without a `recipe` one must be named."""
    parser.add_argument("data", help="as for `distill`")
    parser.add_argument("--out", required=True, help="result file (JSON); what it holds is not computed again")
    parser.add_argument("--recipe", default=recipe, required=recipe is None, help=recipes)


def add_ipc(parser: ArgumentParser) -> None:
    """Images per class."""
    parser.add_argument("--ipc", type=PositiveInt, nargs="+", help="images per class (default: all that it has)")


def add_seeds(parser: ArgumentParser, meaning: str) -> None:
    """The last options: seeds, a teacher of one's own, what is let pass, and whether a changed machine goes on."""
    parser.add_argument("--seeds", type=NonNegativeInt, nargs="+", default=[0, 1, 2], help=meaning)
    add_teacher(parser)
    add_reading(parser)
    add_resume(parser)


def compare_options(parser: ArgumentParser) -> None:
    """Methods and labels side by side, every cell resumable, into one result file."""
    add_result(parser, "small (10 classes, 32 pixels, two cores), many (200 classes) or photographs (64 pixels)")
    add_ipc(parser)
    parser.add_argument(
        "--methods", nargs="+", default=["random", "rded", "rded-encoder", "hello"], help="also sre2l, gvbsm"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=["hard", "static", "teacher", "projector"],
        help="also stored, stored-1, stored-10 and stored-100 (so many labels an image), pruned, pruned-lpld (40 "
        "times fewer), quantized, projector-int8, teacher-int8, teacher-int4",
    )
    parser.add_argument(
        "--students",
        nargs="+",
        default=["convnet3"],
        help="networks, as for `train`; encoder/lite@64: a linear head on the frozen encoder",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        help="networks shipped as they are, without images or students: head (linear, on the frozen encoder), "
        "projector, teacher, projector-int8, teacher-int8, teacher-int4 (default: none)",
    )
    add_seeds(parser, "one run of each cell for each seed")


def compare(options: Namespace) -> None:
    """Run `hello-distill compare`."""
    check_ready(options)
    from hello_distill.experiments.comparison import compare as run
    from hello_distill.recipes import find_comparison

    chosen = {"methods": options.methods, "labels": options.labels, "students": options.students}
    fill("compare", options, run, find_comparison(options.recipe), **chosen, models=options.models or ())


def continual_options(parser: ArgumentParser) -> None:
    """Classes that arrive in steps: a new network at each, trained on the distilled images so far."""
    add_result(parser, "small (10 classes, 32 pixels, two cores) or many (20 classes)")
    parser.add_argument("--steps", type=PositiveInt, nargs="+", default=[5, 10], help="steps that divide the classes")
    add_ipc(parser)
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["hello", "rded", "random"],
        help="hello and rded each with a labeller of the classes seen so far and, apart, one of all classes; hello "
        "also with a projector that is extended as classes arrive; random",
    )
    add_seeds(parser, "each draws an order of the classes, images and networks")


def continual(options: Namespace) -> None:
    """Run `hello-distill continual`."""
    check_ready(options)
    from hello_distill.experiments.continual import continual as run
    from hello_distill.recipes import find_continual

    chosen = {"methods": options.methods, "steps": options.steps}
    fill("continual", options, run, find_continual(options.recipe), **chosen)


def study_options(parser: ArgumentParser) -> None:
    """One of the paper's experiments: variants that differ in one thing, side by side, into one file."""
    add_result(
        parser,
        "architectures (Table 2), ablation (Table 3), ranks and stages (Table 4), choices (what the paper leaves "
        "open), lengths (how long the projector must learn), optimisers, students, students-hard (AdamW or Muon), "
        "crops (whole images or crops, four methods), images (which ones serve): 10 classes of 32 pixels, two cores; "
        "architectures-many and ablation-many: 20 classes; mosaics, and steps-500, steps-3000, steps-10000 (is `cpu` "
        "long enough?): photographs of 64 pixels",
        recipe=None,
    )
    parser.add_argument("--variants", nargs="+", help="some of its variants, by name (default: all)")
    add_ipc(parser)
    parser.add_argument("--students", nargs="+", help="some of its networks (default: all)")
    add_seeds(parser, "one run of each variant for each seed")


def study(options: Namespace) -> None:
    """Run `hello-distill study`."""
    check_ready(options)
    from hello_distill.experiments.study import study as run
    from hello_distill.recipes import find_study

    chosen = {"variants": options.variants, "students": options.students}
    fill("study", options, run, find_study(options.recipe), **chosen)


def check_ready(options: Namespace) -> None:
    """Raise an error for a result that cannot be written, or data that are not there, before torch is imported."""
    publishing.check_writable(Path(options.out).parent)
    check_there(options.data)


def fill(name: str, options: Namespace, run: Callable[..., dict[str, Any]], recipe: Taught, **chosen: Any) -> None:
    """Run an experiment into its result file and show the result.

    The file names this command, without the folders above data, result and teachers.
    """
    from hello_distill.data.sources import short_name
    from hello_distill.experiments import ledger
    from hello_distill.report import terminal

    recipe = recipe.with_own_teachers(options.teacher) if options.teacher else recipe
    result = run(options.data, options.out, recipe, ipcs=options.ipc, seeds=options.seeds, **chosen)
    words = ["hello-distill", name, short_name(options.data)]
    for option, value in options.as_dict().items():
        if option != "data" and value is not None and value is not False:
            words += _worded(f"--{option.replace('_', '-')}", value)
    if Path(options.out).exists():
        ledger.sign(Path(options.out), shlex.join(words))
    show(result, terminal.result)


def _worded(option: str, value: Any) -> list[str]:
    """An option and its value as a command has them, without the folders above files."""
    from hello_distill.training.own import parse

    if option == "--teacher":
        return [word for source in value for word in (option, parse(source).name)]
    shown = Path(value).name if option in ("--out", "--class-names") else value
    return [option, *([] if value is True else map(str, shown if isinstance(shown, list) else [shown]))]


def plan_options(parser: ArgumentParser) -> None:
    """Say what to ship: labels of every kind, tried by short students on held-out images."""
    parser.add_argument("data", help="as for `distill`")
    parser.add_argument("--out", required=True, help="file for the plan (JSON); must not exist yet")
    parser.add_argument("--ipc", type=PositiveInt, required=True, help="images per class")
    parser.add_argument("--recipe", help="as for `distill`")
    parser.add_argument("--config", help="as for `distill`")
    parser.add_argument("--bytes", help="the most that may be shipped, e.g. 500KB")
    parser.add_argument("--steps", type=PositiveInt, default=150, help="optimiser steps of each student")
    parser.add_argument("--stages", help="folder for trained teachers and projectors; plans that name it share them")
    add_seeds(parser, "one student for each seed, of ways that the recommendation hangs on; of others for the first")
    parser.set_defaults({"seeds": [0, 1]})
    add_json(parser)


def plan(options: Namespace) -> None:
    """Run `hello-distill plan`."""
    check_there(options.data)
    with claimed(options.out):
        from hello_distill.experiments.plan import plan as make
        from hello_distill.labels.sources.budget import parse_bytes
        from hello_distill.recipes import PLANNED, find
        from hello_distill.report import terminal

        changes = read_config(options.config) if options.config else {}
        name = options.recipe or suited_recipe(options.data, changes)
        recipe = find(name, options.ipc).with_changes(changes)
        recipe = replace(recipe, ipc=options.ipc)
        recipe = recipe.with_own_teachers(options.teacher) if options.teacher else recipe
        limit = parse_bytes(options.bytes, "--bytes") if options.bytes is not None else None
        chosen = options.steps, options.seeds, options.stages
        result = make(options.data, options.out, recipe, PLANNED, limit, *chosen)
    show(result, terminal.result, options.json)
    if not options.json:
        print(f"To make what is recommended, by all of the recipe:\n{recommended_command(options)}")


def recommended_command(options: Namespace) -> str:
    """The command that makes what a plan recommends."""
    alike = ("ipc", "recipe", "config", "teacher", "stages", *READING, "follow_links")
    bad = {} if options.max_bad == Context.max_bad else {"max_bad": options.max_bad}
    words = ["hello-distill", "distill", options.data]
    for name, value in ({name: options[name] for name in alike} | bad).items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None and each is not False:
                words += [f"--{name.replace('_', '-')}", *([] if each is True else [str(each)])]
    return shlex.join([*words, "--labels", options.out, "--out", "ARTEFACT"])


def bench_options(parser: ArgumentParser) -> None:
    """Measure how fast each stage is on this machine, beside the plain way of the published codes."""
    parser.add_argument("--out", required=True, help="result file (JSON)")
    parser.add_argument("--turns", type=PositiveInt, default=5, help="how often both ways are timed")
    parser.add_argument("--only", nargs="+", default=[], help="words of the names of stages (default: all)")


def bench(options: Namespace) -> None:
    """Run `hello-distill bench`."""
    from hello_distill.experiments.benchmarks import bench as measure
    from hello_distill.report import terminal

    show(measure(options.out, options.turns, options.only), terminal.result)


def demo_options(parser: ArgumentParser) -> None:
    """Distil Fashion-MNIST offline and show what the labels are worth: minutes."""
    parser.add_argument("--out", required=True, help="folder for artefacts and table.json; must not exist yet")
    add_resume(parser)


def demo(options: Namespace) -> None:
    """Run `hello-distill demo`."""
    with claimed(options.out):
        from hello_distill.experiments.demo import demo as make
        from hello_distill.recipes import find
        from hello_distill.report import terminal

        result = make(options.out, find("demo"))
    show(result, terminal.result)
