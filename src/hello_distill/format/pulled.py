"""Artefacts on the Hub: brought to a folder of their own, or, named by `hf://owner/name`, to the cache. Without torch.

Of a repository only the files that its manifest lists are fetched, and none that has another size there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from hello_distill.format import storage, verification
from hello_distill.format.manifest import LARGEST_FILE, MANIFEST, SUMS
from hello_distill.system import cache, context, distributed, hub, publishing
from hello_distill.system.claims import check_absent
from hello_distill.system.errors import ArtifactError, InputError, MachineError, printable
from hello_distill.system.hub import COMMIT, MARK, Repository
from hello_distill.system.machine import cache_folder
from hello_distill.system.room import check_room

if TYPE_CHECKING:
    from huggingface_hub import HfApi

AGAIN = "ask its owner to push the artefact again"


class State(NamedTuple):
    """A data set repository as it is at one commit."""

    named: Repository
    """With the commit as its revision."""
    sizes: Mapping[str, int]
    """Bytes of each file, as the Hub says."""


def pull(repo: str, out: str | Path, revision: str | None = None) -> Path:
    """Bring an artefact from the Hub to a new folder, which appears when all of it is there and checked.

    `repo` is `owner/name[@revision]`, with or without `hf://`. The same call goes on where a stopped one was. Raises
    InputError where there is no such repository, it holds no artefact, or `out` exists; MachineError where the Hub does
    not answer; ArtifactError where its files are not what its manifest says. Then nothing is left at `out`.
    """
    named = Repository.of(repo, revision)
    check_absent(Path(out))
    with context.stage(f"pull {named.name}") as stage:
        state = _state(hub.client(), named)
        size = _bring(state, Path(out))
        stage.figure = f"{size:,} bytes of commit {state.named.revision}"
    return Path(out)


def local(folder: str | Path) -> Path:
    """The folder of an artefact: of one that `hf://owner/name[@revision]` names, its copy in the cache.

    A copy stays under its commit and is fetched once. Where the Hub does not answer, which is said, the commit counts
    that the revision was last known to be. Raises as `pull` does.
    """
    if not isinstance(folder, str) or not folder.startswith(MARK):
        return Path(folder)
    named = Repository.of(folder)
    root = _copies() / named.name.replace("/", "--")
    known = root / "refs" / quote(named.revision or "main", safe="")
    if named.revision and COMMIT.fullmatch(named.revision) and (root / named.revision).is_dir():
        return root / named.revision
    publishing.check_writable(known.parent)
    try:
        state = _state(hub.client(), named)
    except MachineError as error:
        commit = known.read_text(encoding="ascii") if known.is_file() else ""
        if COMMIT.fullmatch(commit) and (root / commit).is_dir():
            with context.stage("hub") as stage:
                stage.figure = f"{error}; the copy of commit {commit} counts meanwhile"
            return root / commit
        raise
    commit = str(state.named.revision)
    cache.once(root / commit, lambda: _bring(state, root / commit) if distributed.first() else None, together=True)
    if distributed.first():
        publishing.write(known, commit.encode())
    return root / commit


def title(folder: Path) -> str:
    """What the artefact in a folder is called: as the folder is, and a copy in the cache as its repository is."""
    place = folder.resolve()
    if COMMIT.fullmatch(place.name) and place.parent.parent == _copies().resolve():
        return printable(place.parent.name.replace("--", "/", 1))  # no owner on the Hub has two hyphens in a row
    return printable(place.name)


def _copies() -> Path:
    return cache_folder() / "hub"


def _state(api: HfApi, named: Repository) -> State:
    """What a repository holds. Raises InputError where that is no artefact."""
    with hub.answered(named, "dataset"):
        found = api.dataset_info(named.name, revision=named.revision, files_metadata=True, timeout=hub.TIMEOUT)
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    if MANIFEST not in sizes:
        raise InputError(
            f"{named} holds no artefact: it has no {MANIFEST}; as DATA of `hello-distill distill` it may do"
        )
    if not COMMIT.fullmatch(commit := str(found.sha)):  # it names a folder of the cache
        raise ArtifactError(f"{named} is at {commit[:60]!r}, which is no commit; ask its owner what that is")
    return State(Repository(named.name, commit), sizes)


def _bring(state: State, target: Path) -> int:
    """Publish an artefact's folder; gives its bytes.

    What is fetched lies beside it, hidden, until all of it is there: a run that was stopped goes on from that.
    """
    sizes, fetched = state.sizes, target.with_name(f".{target.name}.fetched")
    for name in (MANIFEST, SUMS):
        if not 0 < sizes.get(name, 0) <= LARGEST_FILE:
            raise ArtifactError(f"{state.named} has no {name} of at most {LARGEST_FILE} bytes; {AGAIN}")
    with publishing.published(target, sizes[MANIFEST]) as partial:
        try:
            names = _fetch_all(state, target, fetched)
            for name in names:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (fetched / name).rename(partial / name)
            shutil.rmtree(fetched)
            verification.check_files(partial)
        except ArtifactError as error:
            shutil.rmtree(fetched, ignore_errors=True)
            said = str(error).replace(str(partial), str(state.named)).replace(str(fetched), str(state.named))
            raise ArtifactError(said) from None
    return sum(sizes[name] for name in names)


def _fetch_all(state: State, target: Path, folder: Path) -> list[str]:
    """Bring the manifest and the files that it lists to a folder, where they are not there yet; gives their names."""
    api = hub.client()
    _fetch(api, state.named, MANIFEST, folder)
    names = [MANIFEST, SUMS, *_listed(state, storage.read_manifest(folder))]
    there = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
    check_room(target, sum(state.sizes[name] for name in names) - there)
    for name in context.track(names, len(names), f"pull {state.named.name}"):
        _fetch(api, state.named, name, folder)
    return names


def _listed(state: State, manifest: Mapping[str, Any]) -> list[str]:
    """The files that a manifest lists. Raises ArtifactError for one that the repository lacks or has of other size."""
    for name, file in manifest["files"].items():
        if (size := state.sizes.get(name)) != file["bytes"]:
            found = "none" if size is None else f"one of {size:,} bytes"
            raise ArtifactError(
                f"{state.named} should have a file {name} of {file['bytes']:,} and has {found}; {AGAIN}"
            )
    return sorted(manifest["files"])


def _fetch(api: HfApi, named: Repository, name: str, folder: Path) -> None:
    with hub.answered(named, "dataset"):
        api.hf_hub_download(named.name, name, repo_type="dataset", revision=named.revision, local_dir=folder)
