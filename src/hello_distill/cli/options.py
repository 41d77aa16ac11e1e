"""A command line that reports mistakes in one sentence, with the nearest name that exists. Without torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from hello_distill.system.context import Context
from hello_distill.system.errors import InputError, nearest, one_line
from hello_distill.system.logs import Log
from hello_distill.system.settings import expected


def read_config(file: str) -> dict[str, Any]:
    """A JSON or YAML file as nested dictionaries. Raises InputError where it is neither."""
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"config {file} does not exist; name a JSON or YAML file with fields of a recipe") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"config {file} cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"config {file} must hold fields of a recipe, such as `ipc: 10`")
    return content


class Help(jsonargparse.DefaultHelpFormatter):
    """Says a default once: not again where the text says it, and not where it is nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        said = super()._get_help_string(action)
        if "(default:" in (action.help or "") or action.default in (None, False, []):
            said = re.sub(r"(, )?default: %\(default\)s", "", said).replace(" ()", "")
        return said


class ArgumentParser(jsonargparse.ArgumentParser):
    """Ends with exit code 2 and `hello-distill: ` with one sentence, without a usage text; no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": Help, **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and end the process with 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        self.exit(2, f"hello-distill: {sentence(parser, message)}\n")


ARTEFACT = "folder that `distill` wrote, or hf://owner/name[@REVISION]"
"""What may stand for an artefact."""


def add_artefact(parser: ArgumentParser) -> None:
    """The argument of all commands that open an artefact."""
    parser.add_argument("artefact", help=ARTEFACT)


READING: dict[str, tuple[str, str]] = {
    "image_column": ("column of a table that holds the images or their paths", "found"),
    "label_column": ("column of a table that holds the classes", "found"),
    "train_split": ("split or folder to train on", "train or training"),
    "test_split": ("split or folder to test on", "test, testing, eval, validation, valid, val or dev"),
    "revision": ("branch, tag or commit of a data set on the Hub", "its newest"),
    "class_names": (
        "file that names the classes, in words: a JSON list or object, or a line for each",
        "as DATA calls them",
    ),
}
"""Options that say how DATA is read, by fields of `Context`, with what is done without them."""


def add_reading(parser: ArgumentParser, artefact: bool = False) -> None:
    """The options that all commands share that read images; an artefact's test images are read as it was made."""
    parser.add_argument(
        "--max-bad",
        type=float,
        default=Context.max_bad,
        help="share of images that may be unreadable and are left out",
    )
    for name, (text, usual) in READING.items():
        usual = "as it was distilled" if artefact else usual
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{text} (default: {usual})")
    parser.add_argument("--follow-links", action="store_true", help="read what links lead to that lead out of DATA")


def reading(options: Namespace) -> dict[str, Any]:
    """What was chosen of these options, as fields of `Context`."""
    chosen = {
        name: options[name] for name in ("max_bad", "follow_links", "resume_changed", *READING) if name in options
    }
    return {**chosen, "log": Log(options.get("log"))}


def add_resume(parser: ArgumentParser) -> None:
    """The option of commands that go on after a stop."""
    parser.add_argument(
        "--resume-changed",
        action="store_true",
        help="go on also from what other versions, threads, processes or hardware have made of a run that was "
        "stopped; the numbers are then not those of an undisturbed run",
    )


def add_log(parser: ArgumentParser) -> None:
    """The option of commands that train."""
    parser.add_argument("--log", metavar="DIR", help="folder for curves of all trainings, as TensorBoard's event files")


def add_squares(parser: ArgumentParser) -> None:
    """The options that say what squares images become."""
    parser.add_argument(
        "--size", type=PositiveInt, help="side of the images in pixels, also above their own (default: the recipe's)"
    )
    parser.add_argument(
        "--square",
        choices=["crop", "pad", "squash"],
        help="how an image becomes a square: its centre, between bars, or out of proportion (default: crop)",
    )


def add_test(parser: ArgumentParser) -> None:
    """The option that names other images than the test split of DATA."""
    parser.add_argument(
        "--test",
        help="another split of DATA, a folder of class folders, or held-out: the share of DATA's training images that "
        "the distillation held out (default: the split called test or validation)",
    )


def add_teacher(parser: ArgumentParser) -> None:
    """The option of commands that bring a trained teacher."""
    parser.add_argument(
        "--teacher",
        action="append",
        metavar="SOURCE",
        help="a trained classifier in the place of those that the recipe trains; several times for an ensemble, whose "
        "first judges patches: NETWORK:FILE, such as resnet18:teacher.safetensors, torchvision/NAME[:WEIGHTS], "
        "timm/NAME[:pretrained], or a folder with config.json of transformers; behind it :classes=FILE (its classes, "
        "one a line), :size=PIXELS, :mean=R,G,B, :std=R,G,B where it is not known how it was trained",
    )


def add_part(parser: ArgumentParser) -> None:
    """The option of commands that may look at a part of an artefact."""
    parser.add_argument("--ipc", type=PositiveInt, help="the first images of each class alone (default: all)")


def add_json(parser: ArgumentParser) -> None:
    """The option of commands whose result other programs read."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def sentence(parser: argparse.ArgumentParser, message: str) -> str:
    """What argparse or jsonargparse has to say, for people; their own words, on one line, where it is something new."""
    message = one_line(message)
    if match := re.match(r"unrecognized arguments: (.*)", message):
        return _unknown(parser, match[1].split())
    if match := re.match(r"argument (?:-\w/)?(\S+): invalid choice: '(.*?)'", message):
        return _no_choice(parser, match[1], match[2])
    if message.startswith('expected "subcommand" to be one of'):
        return f"no command given; there are {', '.join(_commands(parser))}; `{parser.prog} --help` says what each does"
    if match := re.match(r"the following arguments are required: (.*)", message):
        return _missing(parser, match[1].split(", "))
    if match := re.match(r"argument (?:-\w/)?(\S+): (expected .* argument|ignored explicit argument)", message):
        return f"{match[1]} {'needs a' if match[2].startswith('expected') else 'takes no'} value"
    if match := re.match(r'Parser key "(.*?)"(?: element \d+)?: (.*)', message):
        return _wrong_type(parser, match[1], match[2])
    return f"{message}; see `{_called(parser)} --help`"


def _unknown(parser: argparse.ArgumentParser, arguments: list[str]) -> str:
    wrong = next((word for word in arguments if word.startswith("-")), None)
    if wrong is None:
        return f"{arguments[0]!r} is one argument too many; see `{_called(parser)} --help`"
    name = wrong.partition("=")[0]
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    return f"unknown option {name}: {nearest(name, known)}"


def _no_choice(parser: argparse.ArgumentParser, name: str, value: str) -> str:
    """A value that an option does not have, or a command that there is not."""
    if (option := parser._option_string_actions.get(name)) and option.choices:
        return f"{name} must be {' or '.join(map(str, option.choices))}, not {value!r}"
    return f"unknown command {value!r}: {nearest(value, _commands(parser))}"


def _missing(parser: argparse.ArgumentParser, names: list[str]) -> str:
    command = names[0].partition(".")[0]
    inner = _commands(parser).get(command, parser)
    return f"`{_called(inner)}` needs {' and '.join(_shown(inner, name.removeprefix(f'{command}.')) for name in names)}"


def _wrong_type(parser: argparse.ArgumentParser, name: str, complaint: str) -> str:
    action = _action(parser, name)
    kind = getattr(action, "_typehint", None) or getattr(action, "type", None)
    value = re.search(r"Got value: (.*)|base 10: '(.*)'|to float: '(.*)'|: (\S+) does not conform", complaint)
    given = f", not {next(filter(None, value.groups()), '')!r}" if value else ""
    return f"{_shown(parser, name)} must be {expected(kind)}{given}"


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((action.choices for action in parser._actions if isinstance(action.choices, dict)), {})


def _action(parser: argparse.ArgumentParser, name: str) -> argparse.Action | None:
    return next((action for action in parser._actions if action.dest == name), None)


def _shown(parser: argparse.ArgumentParser, name: str) -> str:
    """An argument as a user writes it: `--out`, or DATA."""
    action = _action(parser, name)
    return action.option_strings[-1] if action and action.option_strings else name.upper()


def _called(parser: argparse.ArgumentParser) -> str:
    return parser.prog.replace(" [options]", "")
