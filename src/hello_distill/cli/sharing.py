"""The commands that bring artefacts to the Hugging Face Hub and back: push, pull."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace

from hello_distill.cli.options import ArgumentParser, add_artefact, add_json
from hello_distill.cli.output import say_ready, show
from hello_distill.system.errors import InputError


def push_options(parser: ArgumentParser) -> None:
    """Send an artefact to a data set repository of the Hugging Face Hub, and its projector to a model repository."""
    add_artefact(parser)
    parser.add_argument("repo", help="owner/name of the data set; made where there is none")
    parser.add_argument(
        "--model-repo", help="owner/name of the model (default: REPO-projector; projector labels alone)"
    )
    parser.add_argument("--no-model", action="store_true", help="send no model repository")
    parser.add_argument("--public", action="store_true", help="for everybody to see (default: private)")
    parser.add_argument("--revision", help="branch to send to; made where there is none (default: main)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent where, and send nothing")
    add_json(parser)


def push(options: Namespace) -> None:
    """Run `hello-distill push`."""
    if options.no_model and options.model_repo is not None:
        raise InputError("--model-repo and --no-model exclude each other; leave one out")
    from hello_distill.hub import push as send
    from hello_distill.report import terminal

    model = options.model_repo or not options.no_model
    sent = send(options.artefact, options.repo, options.revision, model, options.public, options.dry_run)
    result: dict[str, Any] = {"dry_run": options.dry_run, "repositories": sent}
    show(result, terminal.pushed, options.json)


def pull_options(parser: ArgumentParser) -> None:
    """Bring an artefact from the Hugging Face Hub to a new folder, and check that it is what it says."""
    parser.add_argument("repo", help="owner/name of the data set, or owner/name@REVISION")
    parser.add_argument("folder", help="folder for the artefact; must not exist yet")
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")


def pull(options: Namespace) -> None:
    """Run `hello-distill pull`."""
    from hello_distill.format.pulled import pull as bring

    say_ready(bring(options.repo, options.folder, options.revision))
