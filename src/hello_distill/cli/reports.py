"""The commands that show what is there: plot, report, view, recipes, doctor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from hello_distill.cli.options import ARTEFACT, ArgumentParser, add_artefact, add_json, add_reading
from hello_distill.cli.output import show
from hello_distill.system import publishing, stopping
from hello_distill.system.errors import InputError, MachineError
from hello_distill.system.settings import Port


def plot_options(parser: ArgumentParser) -> None:
    """Draw accuracy against the bytes of all that is shipped from a result of `compare`."""
    parser.add_argument("result", help="file that `compare` wrote")
    parser.add_argument("--out", help="picture to write (PNG or SVG); default: beside the result, as SVG")


def plot(options: Namespace) -> None:
    """Run `hello-distill plot`."""
    from hello_distill.report.plot import plot as draw

    print(f"{draw(options.result, options.out)} is ready")


def report_options(parser: ArgumentParser) -> None:
    """Make one page of result files and artefacts that opens from disk."""
    parser.add_argument("results", help="folder of result files (.json)")
    parser.add_argument("--out", required=True, help="page to write (.html)")
    parser.add_argument("--artefact", action="append", default=[], help=f"{ARTEFACT}; may be repeated")
    parser.add_argument(
        "--before",
        action="append",
        default=[],
        help="the artefact of the same run without the image update; may be repeated",
    )
    parser.add_argument("--data", help="what the artefacts were distilled from: which classes do their labels confuse")
    add_reading(parser, artefact=True)


def report(options: Namespace) -> None:
    """Run `hello-distill report`."""
    publishing.check_writable(Path(options.out).parent)
    from hello_distill.report import report as write

    page = write(options.results, options.out, options.artefact, options.before, options.data)
    print(f"{page} is ready")


def view_options(parser: ArgumentParser) -> None:
    """Show an artefact's images on a page of this machine, where soft labels move with the crop."""
    add_artefact(parser)
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        metavar="ARTEFACT",
        help="another artefact of the same classes, whose labels are asked, too, such as one with a teacher; may be "
        "repeated",
    )
    parser.add_argument("--before", help="the artefact of the same run without the image update")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; another lets other machines in")
    parser.add_argument("--port", type=Port, default=0, help="port to listen at (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address and open no browser")


def view(options: Namespace) -> None:
    """Run `hello-distill view`."""
    with stopping.keeping_nothing():
        from hello_distill.viewer import view as show_page

        browser = not options.no_browser
        show_page(options.artefact, options["with"], options.before, options.host, options.port, browser)


def recipes_options(parser: ArgumentParser) -> None:
    """List the recipes; `show NAME` prints one's settings as YAML, fit for --config."""
    parser.add_argument("--fitting", action="store_true", help="those of `distill` alone that fit this machine")
    parser.add_argument("show", nargs="*", default=[], metavar="show NAME", help="settings of a recipe of `distill`")


def recipes(options: Namespace) -> None:
    """Run `hello-distill recipes`."""
    from hello_distill.recipes import COMPARISONS, CONTINUALS, RECIPES, find, fitting
    from hello_distill.recipes.studies import STUDIES

    if options.show:
        if options.show[0] != "show" or len(options.show) != 2:
            raise InputError("`hello-distill recipes` takes nothing, or `show` and the name of a recipe")
        import yaml

        settings = json.loads(json.dumps(find(options.show[1]).settings()))  # tuples become lists
        print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), end="")
        return
    if options.fitting:
        from hello_distill.system.machine import device

        listed("distill", fitting(device()))
        return
    kinds: dict[str, dict[str, Callable[[], Any]]] = {
        "distill": RECIPES,
        "compare": COMPARISONS,
        "continual": CONTINUALS,
        "study": STUDIES,
    }
    for command, named in kinds.items():
        listed(command, named)


def listed(command: str, named: Mapping[str, Callable[[], Any]]) -> None:
    """Print a command's recipes, a line each."""
    print(f"{command} --recipe")
    for name, make in named.items():
        print(f"  {name:<18} {(make.__doc__ or '').splitlines()[0]}")


def doctor_options(parser: ArgumentParser) -> None:
    """Say what is installed and at hand on this machine, and what is amiss."""
    add_json(parser)


def doctor(options: Namespace) -> None:
    """Run `hello-distill doctor`. Raises MachineError where the rest of the command cannot work."""
    from hello_distill.cli.diagnosis import examine
    from hello_distill.report import terminal

    diagnosis = examine()
    show(diagnosis, terminal.doctor, options.json)
    if diagnosis["broken"]:
        raise MachineError("; ".join(diagnosis["broken"]))
