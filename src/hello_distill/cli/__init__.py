"""The command `hello-distill`. Nothing here computes; heavy imports wait until a command runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from hello_distill.cli.options import ArgumentParser
from hello_distill.system import distributed, publishing
from hello_distill.system.context import Context
from hello_distill.system.errors import ArtifactError, HelloError, InputError, MachineError
from hello_distill.system.stopping import SENTENCE, stoppable

if TYPE_CHECKING:
    from hello_distill.api import Recipe
    from hello_distill.system.progress import Progress


def distill_parser() -> ArgumentParser:
    """Options of `hello-distill distill`."""
    parser = ArgumentParser(description="Distil images into a few per class and a light projector for their labels.")
    parser.add_argument(
        "data",
        help="folder with train/CLASS/ and test/CLASS/, Hugging Face data set folder, Hub id, or fashion-mnist; with "
        ":classes=FILE behind it, only the classes that FILE names, one a line",
    )
    parser.add_argument("--out", required=True, help="folder for the artefact; must not exist yet")
    parser.add_argument("--ipc", type=int, help="images per class (10 unless --config says otherwise)")
    parser.add_argument(
        "--encoder",
        help="RN50-quickgelu/openai (the paper's), any open_clip model/pretrained, local-dir:PATH, or lite (offline)",
    )
    parser.add_argument(
        "--recipe",
        default="paper",
        help="paper (for a GPU), imagenet100 and imagenet1k (the same, batches by IPC), cpu (photographs, two cores), "
        "demo (28 pixels, minutes), hello-small and hello-many (32 pixels), or a method to compare with as its code "
        "runs it: random, rded, sre2l, gvbsm, and rded-small, sre2l-small, gvbsm-small for 32 pixels",
    )
    parser.add_argument("--label-bytes", help="at most so many bytes for the projector, such as 200KB")
    parser.add_argument(
        "--seed", type=NonNegativeInt, help="everything random depends on it (0 unless --config says otherwise)"
    )
    parser.add_argument(
        "--short-class",
        choices=["error", "repeat", "fewer"],
        default="error",
        help="classes with too few images: stop (default), use their images again, or make fewer of them",
    )
    add_max_bad(parser)
    parser.add_argument("--skipped", help="JSON file that lists the images that were left out, and why")
    parser.add_argument("--stages", help="folder for trained teachers and projectors; runs that name it share them")
    parser.add_argument(
        "--config",
        help="JSON or YAML file that changes fields of the recipe; an artefact's config.json repeats its run",
    )
    return parser


def distill(options: Namespace) -> None:
    """Run `hello-distill distill`."""
    with output(options.out) as claim, distributed.joined():
        if options.stages is not None:
            publishing.check_writable(Path(options.stages))
        from hello_distill import api as pipeline
        from hello_distill.labels.budget import parse_bytes
        from hello_distill.recipes import find

        changes = read_config(options.config) if options.config else {}
        ipc = changes.get("ipc") if options.ipc is None else options.ipc
        recipe = find(options.recipe, ipc if isinstance(ipc, int) else None).with_changes(changes)
        recipe = recipe.with_encoder(options.encoder) if options.encoder else recipe
        recipe = recipe.with_label_bytes(parse_bytes(options.label_bytes)) if options.label_bytes else recipe
        tell_what_it_takes(options.recipe, recipe)
        given = {name: options[name] for name in ("ipc", "seed") if options[name] is not None}
        beside = {name: options[name] for name in ("stages", "skipped", "short_class")}
        folder = pipeline.distill(options.data, claim, replace(recipe, **given), **beside)
    if distributed.launched().rank == 0:
        print(f"{folder} is ready; `hello-distill info {folder}` says what it holds")


def tell_what_it_takes(name: str, recipe: Recipe) -> None:
    """Say on standard error that a recipe is made for a GPU, where there is none and --config has not made it lighter.

    The first of several processes says it.
    """
    from hello_distill.recipes import FOR_A_GPU, find
    from hello_distill.system.machine import device
    from hello_distill.teachers import only_last

    named = find(name)
    lighter = (recipe.max_side, only_last(recipe.teachers)) != (named.max_side, only_last(named.teachers))
    if name in FOR_A_GPU and not lighter and device() == "cpu" and distributed.launched().rank == 0:
        print(
            f"note: the recipe {name} is made for a GPU; on this machine's processor ten thousand photographs take it "
            "a day or more, and --recipe cpu minutes",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def output(out: str) -> Iterator[publishing.Claim]:
    """The claim on an output; of several processes the first holds it, and the others write nothing."""
    if distributed.launched().rank == 0:
        with publishing.claimed(out) as claim:
            yield claim
    else:
        yield publishing.Claim(Path(out), publishing.Owner.me())


def train_parser() -> ArgumentParser:
    """Options of `hello-distill train`."""
    parser = ArgumentParser(description="Train students from a saved artefact and test them on the real test split.")
    parser.add_argument("artefact", help="folder that `distill` wrote")
    parser.add_argument("--data", required=True, help="what it was distilled from; only its test split is used")
    parser.add_argument("--student", help="network (default: the artefact's own): torchvision's, convnet3, timm/NAME")
    parser.add_argument("--labels", help="the kind that it keeps (default), or hard: the classes alone")
    parser.add_argument("--seeds", type=NonNegativeInt, nargs="+", default=[0, 1, 2], help="one student each")
    add_max_bad(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def train(options: Namespace) -> None:
    """Run `hello-distill train`."""
    from hello_distill import api as pipeline
    from hello_distill.report import terminal as tables

    how = options.student, options.labels, options.seeds
    with distributed.joined():
        result = pipeline.train(options.artefact, options.data, *how)
    show(result, tables.training, options.json)


def evaluate_parser() -> ArgumentParser:
    """Options of `hello-distill evaluate`."""
    parser = ArgumentParser(description="Train students as an artefact records it: do they reach what it states?")
    parser.add_argument("artefact", help="folder that `distill` wrote")
    parser.add_argument("--data", required=True, help="what it was distilled from; only its test split is used")
    parser.add_argument("--seeds", type=NonNegativeInt, nargs="+", help="one student each (default: those it states)")
    parser.add_argument("--record", help="folder for a copy that states what these students reach; must not exist yet")
    add_max_bad(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def evaluate(options: Namespace) -> None:
    """Run `hello-distill evaluate`."""
    if options.record is not None:
        with publishing.claimed(options.record) as claim:
            from hello_distill import api as pipeline
            from hello_distill.format import storage

            folder = pipeline.record(options.artefact, options.data, claim, options.seeds or (0, 1, 2))
        ready = f"{folder} is ready; `hello-distill evaluate {folder} --data {options.data}` checks what it states"
        made = {"artefact": str(folder), "expected": storage.read_manifest(folder)["expected"]}
        show(made, lambda _: ready, options.json)
        return
    from hello_distill import api as pipeline
    from hello_distill.report import terminal as tables

    result = pipeline.reproduce(options.artefact, options.data, options.seeds)
    show(result, tables.evaluation, options.json)
    if not result["inside"]:
        raise ArtifactError(f"{options.artefact} does not reach the accuracy that it states")


def verify_parser() -> ArgumentParser:
    """Options of `hello-distill verify`."""
    parser = ArgumentParser(description="Check that an artefact is what it says: hashes, shapes, numbers, class order.")
    parser.add_argument("artefact", help="folder that `distill` wrote")
    parser.add_argument("--data", help="labelled images (the test split of DATA) to compare the order of classes with")
    parser.add_argument("--teacher", help="an artefact whose teacher or projector to compare the order of classes with")
    add_max_bad(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def verify(options: Namespace) -> None:
    """Run `hello-distill verify`."""
    from hello_distill import api as pipeline
    from hello_distill.report import terminal as tables

    result = pipeline.verify(options.artefact, options.data, options.teacher)
    show(result, tables.verification, options.json)
    if result["not_checked"]:
        raise MachineError(f"not all of {options.artefact} could be checked on this machine; see above")


def info_parser() -> ArgumentParser:
    """Options of `hello-distill info`."""
    parser = ArgumentParser(description="Say what an artefact holds and what it costs, in bytes.")
    parser.add_argument("artefact", help="folder that `distill` wrote")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def info(options: Namespace) -> None:
    """Run `hello-distill info`."""
    from hello_distill.format import costs
    from hello_distill.report import terminal as tables

    show(costs.info(options.artefact), tables.info, options.json)


def labels_parser() -> ArgumentParser:
    """Options of `hello-distill labels`."""
    parser = ArgumentParser(description="Write an artefact with the same images and other labels.")
    parser.add_argument("artefact", help="folder that `distill` wrote")
    parser.add_argument("--kind", required=True, help="hard, static, stored, pruned, quantized, teacher or projector")
    parser.add_argument("--out", required=True, help="folder for the new artefact; must not exist yet")
    parser.add_argument("--source", help="artefact whose teacher or projector makes the labels (default: the same)")
    parser.add_argument("--keep", type=float, help="pruned, quantized: share of a training's batches that is kept")
    parser.add_argument("--replacement", type=bool, help="pruned, quantized: draw batches with replacement")
    parser.add_argument("--codec", help="quantized: topk (default), int8 or float8")
    parser.add_argument("--k", type=int, help="quantized, topk: logits that are kept of each label (default: 10)")
    parser.add_argument("--precision", help="projector: float32, float16 (default), int8 or int4")
    parser.add_argument(
        "--seed", type=NonNegativeInt, help="stored, pruned, quantized: the student whose views are stored (default: 0)"
    )
    return parser


def labels(options: Namespace) -> None:
    """Run `hello-distill labels`."""
    with publishing.claimed(options.out) as claim:
        from hello_distill.relabel import OPTIONS, chosen, relabel

        wanted = chosen(options.kind, {name: options[name] for name in OPTIONS})
        folder = relabel(options.artefact, claim, wanted, options.source)
    print(f"{folder} is ready; `hello-distill info {folder}` says what it holds")


def export_parser() -> ArgumentParser:
    """Options of `hello-distill export`."""
    parser = ArgumentParser(description="Write an artefact's images as files, one folder per class.")
    parser.add_argument("artefact", help="folder that `distill` wrote")
    parser.add_argument("--out", required=True, help="folder for the tree; must not exist yet")
    return parser


def export(options: Namespace) -> None:
    """Run `hello-distill export`."""
    with publishing.claimed(options.out) as claim:
        from hello_distill.export import export as write

        folder = write(options.artefact, claim)
    print(f"{folder} is ready")


def demo_parser() -> ArgumentParser:
    """Options of `hello-distill demo`."""
    parser = ArgumentParser(description="Distil Fashion-MNIST offline and show what the labels are worth: minutes.")
    parser.add_argument("--out", required=True, help="folder for artefacts and table.json; must not exist yet")
    return parser


def demo(options: Namespace) -> None:
    """Run `hello-distill demo`."""
    with publishing.claimed(options.out) as claim:
        from hello_distill.experiments.demo import demo as run
        from hello_distill.recipes import find
        from hello_distill.report import terminal as tables

        result = run(claim, find("demo"))
    show(result, tables.demo, False)


def compare_parser() -> ArgumentParser:
    """Options of `hello-distill compare`."""
    parser = ArgumentParser(description="Methods and labels side by side, every cell resumable, into one result file.")
    parser.add_argument("data", help="as for `distill`")
    parser.add_argument("--out", required=True, help="result file (JSON); cells that it holds are not run again")
    parser.add_argument(
        "--recipe", default="small", help="small (10 classes, 32 pixels, two cores) or many (200 classes)"
    )
    parser.add_argument("--ipc", type=PositiveInt, nargs="+", help="images per class (default: all that it has)")
    parser.add_argument(
        "--methods", nargs="+", default=["random", "rded", "rded-encoder", "hello"], help="also sre2l, gvbsm"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=["hard", "static", "teacher", "projector"],
        help="also stored, pruned, quantized, projector-int8",
    )
    parser.add_argument("--students", nargs="+", default=["convnet3"], help="networks, as for `train`")
    parser.add_argument(
        "--seeds", type=NonNegativeInt, nargs="+", default=[0, 1, 2], help="one run of each cell for each seed"
    )
    add_max_bad(parser)
    return parser


def compare(options: Namespace) -> None:
    """Run `hello-distill compare`."""
    publishing.check_writable(Path(options.out).parent)
    from hello_distill.experiments import comparison
    from hello_distill.recipes import find_comparison
    from hello_distill.report import terminal as tables

    wanted = find_comparison(options.recipe)
    grid = options.methods, options.labels, options.ipc, options.students, options.seeds
    result = comparison.compare(options.data, options.out, wanted, *grid)
    sign("compare", options)
    show(result, tables.comparison, False)


def continual_parser() -> ArgumentParser:
    """Options of `hello-distill continual`."""
    parser = ArgumentParser(
        description="Classes that arrive in steps: a new network at each, trained on the distilled images so far."
    )
    parser.add_argument("data", help="as for `distill`")
    parser.add_argument("--out", required=True, help="result file (JSON); steps that it holds are not run again")
    parser.add_argument(
        "--recipe", default="small", help="small (10 classes, 32 pixels, two cores) or many (20 classes)"
    )
    parser.add_argument("--steps", type=PositiveInt, nargs="+", default=[5, 10], help="steps that divide the classes")
    parser.add_argument("--ipc", type=PositiveInt, nargs="+", help="images per class (default: all that it has)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["hello", "rded", "random"],
        help="hello and rded each with a labeller of the classes seen so far and, apart, one of all classes; random",
    )
    parser.add_argument(
        "--seeds",
        type=NonNegativeInt,
        nargs="+",
        default=[0, 1, 2],
        help="each draws an order of the classes, images and networks",
    )
    add_max_bad(parser)
    return parser


def continual(options: Namespace) -> None:
    """Run `hello-distill continual`."""
    publishing.check_writable(Path(options.out).parent)
    from hello_distill.experiments.continual import continual as run
    from hello_distill.recipes import find_continual
    from hello_distill.report import terminal as tables

    grid = options.methods, options.steps, options.ipc, options.seeds
    wanted = find_continual(options.recipe)
    result = run(options.data, options.out, wanted, *grid)
    sign("continual", options)
    show(result, tables.continual, False)


def study_parser() -> ArgumentParser:
    """Options of `hello-distill study`."""
    parser = ArgumentParser(
        description="One of the paper's experiments: variants that differ in one thing, side by side, into one file."
    )
    parser.add_argument("data", help="as for `distill`")
    parser.add_argument("--out", required=True, help="result file (JSON); runs that it holds are not made again")
    parser.add_argument(
        "--recipe",
        required=True,
        help="architectures (Table 2), ablation (Table 3), ranks and stages (Table 4), choices (what the paper leaves "
        "open), crops (whole images or crops, four methods): 10 classes of 32 pixels, two cores; architectures-many "
        "and ablation-many: 20 classes; mosaics: photographs of 64 pixels",
    )
    parser.add_argument("--variants", nargs="+", help="some of its variants, by name (default: all)")
    parser.add_argument("--ipc", type=PositiveInt, nargs="+", help="images per class (default: all that it has)")
    parser.add_argument("--students", nargs="+", help="some of its networks (default: all)")
    parser.add_argument(
        "--seeds", type=NonNegativeInt, nargs="+", default=[0, 1, 2], help="one run of each variant for each seed"
    )
    add_max_bad(parser)
    return parser


def study(options: Namespace) -> None:
    """Run `hello-distill study`."""
    publishing.check_writable(Path(options.out).parent)
    from hello_distill.experiments.study import study as run
    from hello_distill.recipes import find_study
    from hello_distill.report import terminal as tables

    grid = options.variants, options.ipc, options.students, options.seeds
    result = run(options.data, options.out, find_study(options.recipe), *grid)
    sign("study", options)
    show(result, tables.study, False)


def sign(name: str, options: Namespace) -> None:
    """Name this command in the result that it has filled, without the folders above data and result."""
    import shlex

    from hello_distill.data.images import short_name
    from hello_distill.experiments import ledger

    words = ["hello-distill", name, short_name(options.data)]
    for option, value in options.as_dict().items():
        if option != "data" and value is not None:
            shown = Path(value).name if option == "out" else value
            words += [f"--{option.replace('_', '-')}", *map(str, shown if isinstance(shown, list) else [shown])]
    if Path(options.out).exists():
        ledger.sign(Path(options.out), shlex.join(words))


def plot_parser() -> ArgumentParser:
    """Options of `hello-distill plot`."""
    parser = ArgumentParser(description="Draw accuracy against label bytes from a result of `compare`.")
    parser.add_argument("result", help="file that `compare` wrote")
    parser.add_argument("--out", help="picture to write (PNG or SVG); default: beside the result, as SVG")
    return parser


def plot(options: Namespace) -> None:
    """Run `hello-distill plot`."""
    from hello_distill.report.plot import plot as draw

    print(f"{draw(options.result, options.out)} is ready")


def report_parser() -> ArgumentParser:
    """Options of `hello-distill report`."""
    parser = ArgumentParser(description="Make one page of result files and artefacts that opens from disk.")
    parser.add_argument("results", help="folder of result files (.json)")
    parser.add_argument("--out", required=True, help="page to write (.html)")
    parser.add_argument("--artefact", action="append", default=[], help="folder that `distill` wrote; may be repeated")
    parser.add_argument(
        "--before",
        action="append",
        default=[],
        help="the artefact of the same run without the image update; may be repeated",
    )
    parser.add_argument("--data", help="what the artefacts were distilled from: which classes do their labels confuse")
    add_max_bad(parser)
    return parser


def report(options: Namespace) -> None:
    """Run `hello-distill report`."""
    publishing.check_writable(Path(options.out).parent)
    from hello_distill.report import report as write

    given = options.artefact, options.before, options.data
    print(f"{write(options.results, options.out, *given)} is ready")


def recipes_parser() -> ArgumentParser:
    """Options of `hello-distill recipes`."""
    parser = ArgumentParser(
        description="List the recipes; `show NAME` prints one's settings as YAML, fit for --config."
    )
    parser.add_argument("show", nargs="*", default=[], metavar="show NAME", help="settings of a recipe of `distill`")
    return parser


def recipes(options: Namespace) -> None:
    """Run `hello-distill recipes`."""
    from hello_distill.recipes import COMPARISONS, CONTINUALS, RECIPES, STUDIES, find

    if options.show:
        if options.show[0] != "show" or len(options.show) != 2:
            raise InputError("`hello-distill recipes` takes nothing, or `show` and the name of a recipe")
        import yaml

        settings = json.loads(json.dumps(find(options.show[1]).settings()))  # tuples become lists
        print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), end="")
        return
    kinds: dict[str, dict[str, Callable[[], Any]]] = {
        "distill": RECIPES,
        "compare": COMPARISONS,
        "continual": CONTINUALS,
        "study": STUDIES,
    }
    for command, named in kinds.items():
        print(f"{command} --recipe")
        for name, make in named.items():
            print(f"  {name:<18} {(make.__doc__ or '').splitlines()[0]}")


def doctor_parser() -> ArgumentParser:
    """Options of `hello-distill doctor`."""
    parser = ArgumentParser(description="Say what is installed and at hand on this machine, and what is amiss.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def doctor(options: Namespace) -> None:
    """Run `hello-distill doctor`. Raises MachineError where the rest of the command cannot work."""
    from hello_distill.cli.diagnosis import examine
    from hello_distill.report import terminal as tables

    found = examine()
    show(found, tables.doctor, options.json)
    if found["broken"]:
        raise MachineError("; ".join(found["broken"]))


COMMANDS: dict[str, tuple[Callable[[], ArgumentParser], Callable[[Namespace], None], str]] = {
    "distill": (distill_parser, distill, "images to artefact"),
    "train": (train_parser, train, "artefact to trained students and their accuracy"),
    "evaluate": (evaluate_parser, evaluate, "does an artefact reach the accuracy that it states"),
    "verify": (verify_parser, verify, "is an artefact what it says"),
    "labels": (labels_parser, labels, "the same images with other labels"),
    "export": (export_parser, export, "an artefact's images as a class-per-folder tree"),
    "info": (info_parser, info, "what an artefact holds and costs"),
    "compare": (compare_parser, compare, "methods and labels side by side"),
    "continual": (continual_parser, continual, "classes that arrive in steps"),
    "study": (study_parser, study, "one of the paper's experiments: variants side by side"),
    "plot": (plot_parser, plot, "a picture of a comparison"),
    "report": (report_parser, report, "results and artefacts as one page"),
    "demo": (demo_parser, demo, "the whole way on Fashion-MNIST"),
    "recipes": (recipes_parser, recipes, "named settings for distill, compare, continual and study"),
    "doctor": (doctor_parser, doctor, "what is installed and at hand, and what is amiss"),
}


SECONDS_FOR_THE_FIRST = 5.0
QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
"""Variables that keep the libraries from warning, and from reporting to anyone, unless the user sets them."""


def add_max_bad(parser: ArgumentParser) -> None:
    """The option that all commands share that read images."""
    parser.add_argument(
        "--max-bad",
        type=float,
        default=Context.max_bad,
        help="share of images that may be unreadable and are left out",
    )


def read_config(file: str) -> dict[str, Any]:
    """A JSON or YAML file as nested dictionaries. Raises InputError where it is neither."""
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"config {file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"config {file} must hold fields of a recipe, such as `ipc: 10`")
    return content


def show(result: dict[str, Any], table: Callable[[dict[str, Any]], Any], as_json: bool) -> None:
    """Print a result for machines or for people. Texts of a stranger's artefact are shown as they are.

    Of several processes the first prints.
    """
    if distributed.launched().rank > 0:
        return
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(table(result))


def console() -> Progress:
    """Progress on standard error, and an allocator set for training."""
    from hello_distill.system.machine import keep_freed_memory
    from hello_distill.system.progress import SILENT, ConsoleProgress

    keep_freed_memory()
    return ConsoleProgress() if distributed.launched().rank == 0 else SILENT


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = ArgumentParser(prog="hello-distill", description="Dataset distillation with light labels.")
    version = f"hello-distill {metadata.version('hello-distill')}"
    parser.add_argument("--version", action="version", version=version, help="Say the version and exit.")
    commands = parser.add_subcommands(title="commands", metavar="{" + ",".join(COMMANDS) + "}")
    for name, (make, _, help_line) in COMMANDS.items():
        commands.add_subcommand(name, make(), help=help_line)
    options = parser.parse_args(arguments)
    with suppress(AttributeError):  # a stream that is not the system's
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    return run(lambda: perform(options.subcommand, options[options.subcommand]))


SHARED = ("distill", "train")
"""Commands that several processes do together."""


def perform(name: str, options: Namespace) -> None:
    """Run a command. Raises InputError where several processes were started for one that they do not share."""
    if distributed.launched().processes > 1 and name not in SHARED:
        apart = "; several of them with one --out share the work" if name in ("compare", "continual", "study") else ""
        raise InputError(f"torchrun is for {' and '.join(SHARED)}; start `hello-distill {name}` without it{apart}")
    with Context(console(), options.get("max_bad", Context.max_bad)):
        COMMANDS[name][1](options)


def run(command: Callable[[], None]) -> int:
    """Run a command to its exit code; whatever may go wrong outside of this program ends with one sentence."""
    try:
        with stoppable():
            command()
            sys.stdout.flush()
        return 0
    except HelloError as error:
        return told(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        code = getattr(stop, "exit_code", 130)
        return code if distributed.launched().rank > 0 else told(SENTENCE, code)
    except BrokenPipeError:  # whoever read the output has enough of it
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return told(f"{' '.join(str(error).split())}; put that right and run the same command again", 3)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return told("memory is full; close other programs, or lower batch sizes or `max_side` in a --config file", 3)


def out_of_memory(error: Exception) -> bool:
    """Whether an error says so: Python's own, or torch's, which are RuntimeErrors and differ by device."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )


def told(sentence: str, exit_code: int) -> int:
    """Print what went wrong; gives the exit code.

    Of several processes the first prints. Another leaves it time to say the same, for then all are ended, and speaks
    where it does not.
    """
    rank, processes = distributed.launched()[:2]
    if rank > 0:
        time.sleep(SECONDS_FOR_THE_FIRST)
        sentence = f"process {rank} of {processes}: {sentence}"
    print(f"hello-distill: {sentence}", file=sys.stderr, flush=True)
    return exit_code
