"""The command `hello-distill`: for each command a function that declares its options, and one that runs it.

The first line that `--help` of a command shows is the docstring of the function that declares its options.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata

from jsonargparse import Namespace

from hello_distill.cli import artefacts, experiments, reports, sharing, students
from hello_distill.cli.options import ArgumentParser, reading
from hello_distill.cli.output import console, failed
from hello_distill.system import distributed
from hello_distill.system.context import Context
from hello_distill.system.errors import HelloError, InputError, memory_full, one_line
from hello_distill.system.stopping import SENTENCE, stoppable

COMMANDS: dict[str, tuple[Callable[[ArgumentParser], None], Callable[[Namespace], None], str]] = {
    "distill": (artefacts.distill_options, artefacts.distill, "images to artefact"),
    "train": (students.train_options, students.train, "artefact to trained students and their accuracy"),
    "evaluate": (students.evaluate_options, students.evaluate, "does an artefact reach the accuracy that it states"),
    "verify": (artefacts.verify_options, artefacts.verify, "is an artefact what it says"),
    "labels": (artefacts.labels_options, artefacts.labels, "the same images with other labels"),
    "export": (
        artefacts.export_options,
        artefacts.export,
        "an artefact for other tools: images as folders or shards, the projector as ONNX",
    ),
    "push": (sharing.push_options, sharing.push, "an artefact to the Hugging Face Hub"),
    "pull": (sharing.pull_options, sharing.pull, "an artefact from the Hugging Face Hub"),
    "info": (artefacts.info_options, artefacts.info, "what an artefact holds and costs"),
    "plan": (experiments.plan_options, experiments.plan, "what to ship: labels of every kind, tried by short students"),
    "compare": (experiments.compare_options, experiments.compare, "methods and labels side by side"),
    "continual": (experiments.continual_options, experiments.continual, "classes that arrive in steps"),
    "study": (experiments.study_options, experiments.study, "one of the paper's experiments: variants side by side"),
    "bench": (experiments.bench_options, experiments.bench, "how fast each stage is on this machine"),
    "plot": (reports.plot_options, reports.plot, "a picture of a comparison"),
    "report": (reports.report_options, reports.report, "results and artefacts as one page"),
    "view": (reports.view_options, reports.view, "an artefact as a page where soft labels move"),
    "demo": (experiments.demo_options, experiments.demo, "the whole way on Fashion-MNIST"),
    "recipes": (reports.recipes_options, reports.recipes, "named settings for distill, compare, continual and study"),
    "doctor": (reports.doctor_options, reports.doctor, "what is installed and at hand, and what is amiss"),
}


QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
"""Variables that keep the libraries from warning, and from reporting to anyone, unless the user sets them."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    with suppress(AttributeError):  # a stream that is not the system's
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)

    given = sys.argv[1:] if arguments is None else arguments
    if given[-1:] == ["--recipe"] and given[:1] in (["--recipe"], ["distill"], ["plan"]):
        given = ["recipes", "--fitting"]

    def command() -> None:
        perform(parsed(given))

    return run(command)


def parsed(arguments: list[str]) -> Namespace:
    """The options. Of the commands only the one that is named gets its own: those of `labels` are its kinds'."""
    parser = ArgumentParser(prog="hello-distill", description="Dataset distillation with light labels.")
    version = f"hello-distill {metadata.version('hello-distill')}"
    parser.add_argument("--recipe", action="store_true", help="List the recipes of `distill` that fit this machine.")
    parser.add_argument("--version", action="version", version=version, help="Say the version and exit.")
    commands = parser.add_subcommands(title="commands", metavar="{" + ",".join(COMMANDS) + "}")
    named = next((word for word in arguments if not word.startswith("-")), None)
    for name, (declare, _, help_line) in COMMANDS.items():
        command = ArgumentParser(description=declare.__doc__)
        if name == named:
            declare(command)
        commands.add_subcommand(name, command, help=help_line)
    return parser.parse_args(arguments)


MULTI_PROCESS = ("distill", "train")
"""Commands that several processes do together."""


def perform(chosen: Namespace) -> None:
    """Run a command. Raises InputError where several processes were started for one that is not of `MULTI_PROCESS`."""
    name, options = chosen.subcommand, chosen[chosen.subcommand]
    if distributed.launched().processes > 1 and name not in MULTI_PROCESS:
        apart = "; several of them with one --out share the work" if name in ("compare", "continual", "study") else ""
        raise InputError(
            f"torchrun is for {' and '.join(MULTI_PROCESS)}; start `hello-distill {name}` without it{apart}"
        )
    with Context(console(), **reading(options)):
        COMMANDS[name][1](options)


def run(command: Callable[[], None]) -> int:
    """Run a command to its exit code; whatever may go wrong outside of this program ends with one sentence."""
    try:
        with stoppable():
            command()
            sys.stdout.flush()
        return 0
    except HelloError as error:
        return failed(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        code = getattr(stop, "exit_code", 130)
        said = getattr(stop, "sentence", SENTENCE)
        return code if distributed.launched().rank > 0 else failed(said, code)
    except BrokenPipeError:  # whoever read the output has enough of it
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return failed(f"{one_line(error)}; put that right and run the same command again", 3)
    except (MemoryError, RuntimeError) as error:
        if not memory_full(error):
            raise
        return failed("memory is full; close other programs, or lower batch sizes or `max_side` in a --config file", 3)
