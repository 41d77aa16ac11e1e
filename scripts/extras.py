"""Whether each extra is enough alone: what it is for works with it, and says without it what to install.

    python scripts/extras.py ARTEFACT DATA     # an artefact with a projector, and what it was distilled from; seconds

Nothing is installed. Of the packages that are, a process finds those alone that `pip install '.[EXTRA]'` would bring:
the dependencies in pyproject.toml, theirs, and so on. Ends with 1 where something is not as it should be.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "cifar10.json"
Call = list[str] | Callable[[], int]
"""A command, or what gives the exit code of one."""


def plain(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that these requirements bring, by the metadata of those that are installed."""
    waiting = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        needed, extra_of = waiting.pop()
        if needed.marker and not needed.marker.evaluate({"extra": extra_of}):
            continue
        for extra in ("", *needed.extras):
            if (key := (plain(needed.name), extra)) not in seen:
                seen.add(key)
                waiting += [(Requirement(text), extra) for text in metadata.requires(needed.name) or ()]
    return {name for name, _ in seen}


class Installed:
    """Finds modules and metadata as Python does, of some distributions alone, and of no distribution at all."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.owners = metadata.packages_distributions()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        owners = self.owners.get(name.partition(".")[0], ())
        if owners and not self.names & set(map(plain, owners)):
            return None
        return PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: metadata.DistributionFinder.Context) -> Iterator[metadata.Distribution]:
        return (found for found in metadata.MetadataPathFinder.find_distributions(context) if self.has(found))

    def has(self, found: metadata.Distribution) -> bool:
        return plain(found.metadata["Name"]) in self.names


def page(artefact: str) -> int:
    """`view`, which serves until it is stopped: the page answers."""
    from hello_distill.viewer import server, shown

    with server.running(shown.opened(artefact)) as address, urllib.request.urlopen(address, timeout=20) as answer:
        return 0 if b"<html" in answer.read() else 1


def offline_encoder() -> int:
    """What `--encoder lite` opens."""
    from hello_distill import encoders

    encoders.load("lite")
    return 0


def teacher(folder: Path) -> int:
    """What `--teacher FOLDER` opens: a classifier that transformers has saved."""
    from transformers import ViTConfig, ViTForImageClassification

    from hello_distill.training.own import huggingface

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTForImageClassification(ViTConfig(image_size=32, num_labels=4, **small)).save_pretrained(folder)
    return 0 if huggingface.opened(folder)[1] == 4 else 1


def calls(artefact: str, data: str, out: Path) -> dict[str, list[tuple[list[str], Call]]]:
    """By extra ("" is none): commands as users give them, each with what stands for it where it is too long."""
    distil = ["distill", data, "--recipe", "demo", "--out", f"{out}/a"]
    train = ["train", artefact, "--data", data, "--seeds", "0"]
    view = ["view", artefact, "--no-browser"]
    every: dict[str, list[list[str]]] = {
        "": [["info", artefact], ["verify", artefact], train, ["push", artefact, "me/shapes", "--dry-run"]],
        "report": [["plot", str(RESULT), "--out", f"{out}/a.svg"]],
        "log": [[*train, "--log", f"{out}/curves"]],
        "onnx": [["export", artefact, "--to", "onnx", "--out", f"{out}/onnx"]],
    }
    same: dict[str, list[tuple[list[str], Call]]] = {name: [(one, one) for one in some] for name, some in every.items()}
    return same | {
        "view": [(view, lambda: page(artefact))],
        "lite": [(distil, offline_encoder)],
        "transformers": [([*distil, "--teacher", f"{out}/vit"], lambda: teacher(out / "vit"))],
    }


def answer(call: Call) -> tuple[int, str]:
    """The exit code of a command, and what it said."""
    from hello_distill.cli import main

    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        code = main(call) if isinstance(call, list) else call()
    return code, said.getvalue().strip()


def wrong(extra: str, known: dict[str, list[tuple[list[str], Call]]], others: Iterable[str]) -> list[str]:
    """What is not as it should be where one extra alone is installed, in words."""
    found = []
    for command, call in known[extra]:
        code, said = answer(call)
        if code:
            found.append(f"[{extra}] does not suffice for `{' '.join(command)}`: it ends with {code}: {said}")
    for other in others:
        for command, _ in known[other]:
            code, said = answer(command)
            sentences = [line for line in said.splitlines() if line.startswith("hello-distill: ")]
            if code != 3 or len(sentences) != 1 or f"pip install 'hello-distill[{other}]'" not in sentences[0]:
                found.append(f"without [{other}] `{' '.join(command)}` ends with {code}, and says {said!r}")
    return found


def alone(extra: str, names: set[str], *asked: Any) -> bool:
    """Look at one extra in a process of its own, whose parent has loaded what no extra is needed for; whether all is
    well."""
    child = os.fork()
    if not child:
        code = 1
        try:
            finder = next(each for each in sys.meta_path if isinstance(each, Installed))
            finder.names = names
            for sentence in (found := wrong(extra, *asked)):
                print(sentence, file=sys.stderr, flush=True)
            code = 1 if found else 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main(artefact: str, data: str) -> int:
    """Look at no extra, and at each; returns the exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = project["optional-dependencies"]
    bare = closure(project["dependencies"]) | {plain(project["name"])}
    with tempfile.TemporaryDirectory() as scratch:
        known = calls(artefact, data, Path(scratch))
        bring = {name: bare | closure(needs[name]) for name in known if name}
        sys.meta_path[:] = [each for each in sys.meta_path if each is not PathFinder] + [Installed(bare)]
        found = wrong("", known, [name for name in bring if bring[name] - bare])
        for line in found:
            print(line, file=sys.stderr)
        print(f"no extra: {len(bare)} packages; for {', '.join(command[0] for command, _ in known[''])}")
        for name, names in bring.items():
            if not alone(name, names, known, ()):
                found.append(name)
            what = ", ".join(command[0] for command, _ in known[name])
            print(f"[{name}] alone: {len(names - bare)} packages more; for {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
