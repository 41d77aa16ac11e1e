"""Artefacts to the Hugging Face Hub: `hello-distill push`. What brings them back is `format.pulled`.

An artefact becomes a data set repository, file by file as it is: its card is one of the files whose SHA-256 its
manifest lists, so nothing is added to it. Its projector becomes a model repository, too, with a card that names the
data set and the encoder; the Hub then shows it on the page of both.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hello_distill.format import pulled, storage, verification
from hello_distill.format.kinds import part_of
from hello_distill.format.manifest import CARD, MANIFEST, SUMS
from hello_distill.format.model_card import FACTS, model_card
from hello_distill.format.pulled import pull
from hello_distill.labels.projector import FOLDER, ProjectorPart
from hello_distill.system import context, hub
from hello_distill.system.errors import InputError, listed
from hello_distill.system.hub import WORDS, Kind, Repository

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SUFFIX = "-projector"
"""What the model repository is called, behind the data set's name."""
MARKS: dict[Kind, str] = {"dataset": MANIFEST, "model": FACTS}
"""The file by which a repository of ours is known: it lists the others."""
KNOWN_BY = {"classes", "labels", "files"}
"""Fields of that file."""


class Shipment(NamedTuple):
    """A repository as it shall be."""

    repository: Repository
    kind: Kind
    files: Mapping[str, Path | bytes]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in sorted(self.files.items())
        }


class Standing(NamedTuple):
    """A repository as it is."""

    stale: Sequence[str] = ()
    """Files to remove from it: those that it listed as its own and shall no longer have."""
    commit: str | None = None
    """None where there is no repository yet."""


def push(
    folder: str | Path,
    repo: str,
    revision: str | None = None,
    model: str | bool = True,
    public: bool = False,
    dry_run: bool = False,
) -> list[dict[str, Any]]:
    """Send an artefact to the data set repository `owner/name`, and its projector to a model repository.

    `model` names that, False leaves it out; it is `owner/name-projector` otherwise, and none for other labels. New
    repositories are private unless `public`. `revision` is a branch, made where there is none. Each gets one commit,
    and what is there already is not sent again, so a push that was cut off is started again with the same call.
    `dry_run` asks the Hub nothing and sends nothing.

    Gives, for each repository, what is in it, in bytes, and whether any of it was new there. Raises InputError for a
    repository that holds anything else, is not the user's, or is public where it should be private; MachineError
    without a token or a network; and what `verify` raises for the artefact.
    """
    shipments = _shipments(pulled.local(folder), Repository.of(repo, revision), model)
    for shipment in shipments:
        hub.check_name(shipment.repository.name)
    if dry_run:
        return [_described(shipment, public) for shipment in shipments]
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise hub.no_token(shipments[0].repository)
    api = hub.client()
    standing = [_standing(api, shipment, public) for shipment in shipments]
    return [_pushed(api, *each, public) for each in zip(shipments, standing, strict=True)]


def _pushed(api: HfApi, shipment: Shipment, standing: Standing, public: bool) -> dict[str, Any]:
    """Send what a repository lacks; gives what is in it."""
    described = _described(shipment, public)
    with context.stage(f"push {shipment.repository.name}") as stage:
        commit = _send(api, shipment, standing.stale, public)
        new = commit != standing.commit
        stage.figure = f"{described['bytes']:,} bytes, commit {commit}" if new else f"nothing new, commit {commit}"
    return {**described, "commit": commit, "new": new, "url": shipment.repository.address(shipment.kind)}


def _shipments(folder: Path, there: Repository, model: str | bool) -> list[Shipment]:
    """What is sent where. Raises InputError for a model repository where the labels are of another kind."""
    manifest = verification.check_files(folder)
    names = [*manifest["files"], MANIFEST, SUMS]
    shipments = [Shipment(there, "dataset", {name: folder / name for name in names})]
    part = part_of(manifest["labels"])
    if isinstance(part, ProjectorPart) and model is not False:
        beside = Repository.of(model if isinstance(model, str) else there.name + SUFFIX, there.revision)
        shipments.append(_projector(folder, manifest, part, there, beside))
    elif isinstance(model, str):
        raise InputError(f"{folder} has {part.kind} labels, and a model repository is for a projector; leave it out")
    return shipments


def _projector(
    folder: Path, manifest: dict[str, Any], part: ProjectorPart, data_set: Repository, model: Repository
) -> Shipment:
    """The model repository of a projector: as stock peft reads it, its facts, its card."""
    files: dict[str, Path | bytes] = {name.removeprefix(f"{FOLDER}/"): folder / name for name in part.files()}
    facts = {name: manifest[name] for name in ("classes", "labels")}
    facts |= {"data_set": data_set.name, "files": sorted([CARD, FACTS, *files])}
    card = model_card(manifest, data_set, model, encoder_repository(part.encoder.name))
    return Shipment(model, "model", {**files, FACTS: storage.as_json(facts), CARD: card.encode()})


def encoder_repository(name: str) -> str | None:
    """The model repository of an encoder that open_clip has by `architecture/weights`; None where it has none."""
    import open_clip

    model, _, pretrained = name.partition("/")
    return open_clip.get_pretrained_cfg(model, pretrained).get("hf_hub", "").strip("/") or None


def _described(shipment: Shipment, public: bool) -> dict[str, Any]:
    sizes = shipment.sizes()
    return {
        "repository": shipment.repository.name,
        "revision": shipment.repository.revision,
        "kind": WORDS[shipment.kind],
        "private": not public,
        "files": sizes,
        "bytes": sum(sizes.values()),
    }


def _standing(api: HfApi, shipment: Shipment, public: bool) -> Standing:
    """What is to be known of a repository before anything is sent.

    Raises InputError where it holds something that is not ours, or where others see it and should not.
    """
    import huggingface_hub.errors as errors

    there, kind = shipment.repository, shipment.kind
    with hub.answered(there, kind):
        try:
            found = api.repo_info(there.name, repo_type=kind, timeout=hub.TIMEOUT)
            if there.revision:
                found = api.repo_info(there.name, repo_type=kind, revision=there.revision, timeout=hub.TIMEOUT)
        except errors.GatedRepoError:
            raise
        except errors.RevisionNotFoundError:
            pass  # a branch that is made of the newest state
        except errors.RepositoryNotFoundError:
            return Standing()
    if bool(found.private) == public:
        now, wanted = ("private", "--public") if public else ("public", "a private one")
        raise InputError(
            f"the {WORDS[kind]} {there.name} is {now} already, and {wanted} was asked for; change it in its settings "
            f"on {there.address(kind)}, or {'leave --public out' if public else 'give --public'}"
        )
    names = {file.rfilename for file in getattr(found, "siblings", None) or ()} - set(verification.IGNORED)
    ours = set(_own_files(api, shipment, str(found.sha))) if MARKS[kind] in names else set()
    if names and not ours:
        raise InputError(
            f"the {WORDS[kind]} {there.name} exists and holds no artefact of hello-distill, but "
            f"{listed(sorted(names), 3)}; name another repository, or remove that one first"
        )
    return Standing(sorted(names & ours - set(shipment.files)), str(found.sha))


def _own_files(api: HfApi, shipment: Shipment, commit: str) -> Sequence[str]:
    """The files that a repository lists as its own; none where it is not one of ours."""
    mark = MARKS[shipment.kind]
    with tempfile.TemporaryDirectory() as scratch, hub.answered(shipment.repository, shipment.kind):
        file = api.hf_hub_download(
            shipment.repository.name, mark, repo_type=shipment.kind, revision=commit, local_dir=scratch
        )
        try:
            content = json.loads(Path(file).read_bytes())
        except (ValueError, RecursionError):
            return []
    return [*content["files"], mark] if isinstance(content, dict) and set(content) >= KNOWN_BY else []


def _send(api: HfApi, shipment: Shipment, stale: Sequence[str], public: bool) -> str:
    """Make a repository what it shall be, with one commit; gives its hash. Files that the Hub has are not sent."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there, kind = shipment.repository, shipment.kind
    with hub.answered(there, kind):
        api.create_repo(there.name, repo_type=kind, private=not public, exist_ok=True)
        if there.revision:
            api.create_branch(there.name, repo_type=kind, branch=there.revision, exist_ok=True)
        commit = api.create_commit(
            there.name,
            [
                *(CommitOperationAdd(name, content) for name, content in sorted(shipment.files.items())),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=f"{'Distilled data set' if kind == 'dataset' else 'Projector'}, made by hello-distill",
            repo_type=kind,
            revision=there.revision,
        )
    return str(commit.oid)


__all__ = ["pull", "push"]
