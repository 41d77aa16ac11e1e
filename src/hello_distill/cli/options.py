"""A command line that reports mistakes in one sentence, with the nearest name that exists. Without torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse

from hello_distill.system.context import Context
from hello_distill.system.errors import InputError, nearest
from hello_distill.system.settings import expected


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


VALUE = re.compile(r"Got value: (.*)|base 10: '(.*)'|to float: '(.*)'|: (\S+) does not conform")
"""Where jsonargparse's messages quote what was given."""


class ArgumentParser(jsonargparse.ArgumentParser):
    """Ends with exit code 2 and `hello-distill: ` with one sentence, without a usage text; no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and end the process with 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        self.exit(2, f"hello-distill: {sentence(parser, message)}\n")


def add_max_bad(parser: ArgumentParser) -> None:
    """The option that all commands share that read images."""
    parser.add_argument(
        "--max-bad",
        type=float,
        default=Context.max_bad,
        help="share of images that may be unreadable and are left out",
    )


def add_test(parser: ArgumentParser) -> None:
    """The option that names other images than the test split of DATA."""
    parser.add_argument(
        "--test",
        help="another split of DATA, a folder of class folders, or held-out: the share of DATA's training images that "
        "the distillation held out (default: the split called test or validation)",
    )


def add_json(parser: ArgumentParser) -> None:
    """The option of commands whose result other programs read."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def sentence(parser: argparse.ArgumentParser, message: str) -> str:
    """What argparse or jsonargparse has to say, for people; their own words, on one line, where it is something new."""
    message = " ".join(message.split())
    for pattern, tell in TELLERS:
        if found := re.match(pattern, message):
            return tell(parser, found)
    return f"{message}; see `{_called(parser)} --help`"


def _unknown(parser: argparse.ArgumentParser, found: re.Match[str]) -> str:
    given = found[1].split()
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = [name for action in shown for name in action.option_strings if name.startswith("--")]
    wrong = next((word for word in given if word.startswith("-")), None)
    if wrong is None:
        return f"{given[0]!r} is one argument too many; see `{_called(parser)} --help`"
    name = wrong.partition("=")[0]
    return f"unknown option {name}: {nearest(name, options)}"


def _choice(parser: argparse.ArgumentParser, found: re.Match[str]) -> str:
    return f"unknown command {found[1]!r}: {nearest(found[1], _commands(parser))}"


def _no_command(parser: argparse.ArgumentParser, found: re.Match[str]) -> str:
    return f"no command given; there are {', '.join(_commands(parser))}; `{_called(parser)} --help` says what each does"


def _missing(parser: argparse.ArgumentParser, found: re.Match[str]) -> str:
    command = found[1].partition(".")[0]
    names = [name.removeprefix(f"{command}.") for name in found[1].split(", ")]
    inner = _commands(parser).get(command, parser)
    return f"`{_called(inner)}` needs {' and '.join(_shown(inner, name) for name in names)}"


def _no_value(parser: argparse.ArgumentParser, found: re.Match[str]) -> str:
    return f"{found[1].split('/')[-1]} needs a value" if "expected" in found[2] else f"{found[1]} takes no value"


def _wrong_type(parser: argparse.ArgumentParser, found: re.Match[str]) -> str:
    action = next((action for action in parser._actions if action.dest == found[1]), None)
    kind = getattr(action, "_typehint", None) or getattr(action, "type", None)
    value = VALUE.search(found[2])
    given = f", not {next(filter(None, value.groups()), '')!r}" if value else ""
    return f"{_shown(parser, found[1])} must be {expected(kind)}{given}"


TELLERS = (
    (r"unrecognized arguments: (.*)", _unknown),
    (r"argument \S+: invalid choice: '(.*?)'", _choice),
    (r'expected "subcommand" to be one of', _no_command),
    (r"the following arguments are required: (.*)", _missing),
    (r"argument (\S+): (expected .* argument|ignored explicit argument)", _no_value),
    (r'Parser key "(.*?)"(?: element \d+)?: (.*)', _wrong_type),
)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((action.choices for action in parser._actions if isinstance(action.choices, dict)), {})


def _shown(parser: argparse.ArgumentParser, name: str) -> str:
    """An argument as a user writes it: `--out`, or DATA."""
    action = next((action for action in parser._actions if action.dest == name), None)
    return action.option_strings[-1] if action and action.option_strings else name.upper()


def _called(parser: argparse.ArgumentParser) -> str:
    return parser.prog.replace(" [options]", "")
