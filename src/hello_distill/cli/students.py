"""The commands that train students from an artefact: train, evaluate."""

from __future__ import annotations

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt

from hello_distill.cli.options import (
    ArgumentParser,
    add_artefact,
    add_json,
    add_log,
    add_part,
    add_reading,
    add_resume,
    add_test,
)
from hello_distill.cli.output import show
from hello_distill.data.references import check_there
from hello_distill.system import distributed
from hello_distill.system.claims import claimed
from hello_distill.system.errors import ArtifactError


def train_options(parser: ArgumentParser) -> None:
    """Train students from a saved artefact and test them on the real test split."""
    add_artefact(parser)
    parser.add_argument("--data", required=True, help="what it was distilled from; only its test split is used")
    add_test(parser)
    networks = "torchvision's, convnet3, timm/NAME; encoder/NAME@SIZE: a linear head on a public encoder"
    parser.add_argument("--student", help=f"network, trained as the artefact's own is (default: that one): {networks}")
    parser.add_argument("--labels", help="the kind that it keeps (default), or hard: the classes alone")
    add_part(parser)
    parser.add_argument("--seeds", type=NonNegativeInt, nargs="+", default=[0, 1, 2], help="one student each")
    add_reading(parser, artefact=True)
    add_resume(parser)
    add_log(parser)
    add_json(parser)


def train(options: Namespace) -> None:
    """Run `hello-distill train`."""
    check_there(options.data)
    from hello_distill import api
    from hello_distill.report import terminal

    with distributed.joined():
        chosen = options.student, options.labels, options.seeds, options.test, options.ipc
        result = api.train(options.artefact, options.data, *chosen)
    show(result, terminal.result, options.json)


def evaluate_options(parser: ArgumentParser) -> None:
    """Train students as an artefact records it: do they reach what it states?"""
    add_artefact(parser)
    parser.add_argument("--data", required=True, help="what it was distilled from; only its test split is used")
    add_test(parser)
    parser.add_argument("--seeds", type=NonNegativeInt, nargs="+", help="one student each (default: those it states)")
    parser.add_argument("--record", help="folder for a copy that states what these students reach; must not exist yet")
    add_reading(parser, artefact=True)
    add_resume(parser)
    add_log(parser)
    add_json(parser)


def evaluate(options: Namespace) -> None:
    """Run `hello-distill evaluate`."""
    if options.record is not None:
        record(options)
        return
    from hello_distill import api
    from hello_distill.report import terminal

    result = api.reproduce(options.artefact, options.data, options.seeds, options.test)
    show(result, terminal.evaluation, options.json)
    if not result["inside"]:
        raise ArtifactError(f"{options.artefact} does not reach the accuracy that it states")


def record(options: Namespace) -> None:
    """Run `hello-distill evaluate --record`."""
    with claimed(options.record):
        from hello_distill import api
        from hello_distill.format import storage

        folder = api.record(options.artefact, options.data, options.record, options.seeds or (0, 1, 2), options.test)
    test = f" --test {options.test}" if options.test else ""
    ready = f"{folder} is ready; `hello-distill evaluate {folder} --data {options.data}{test}` checks what it states"
    made = {"artefact": str(folder), "expected": storage.read_manifest(folder)["expected"]}
    show(made, lambda _: ready, options.json)
