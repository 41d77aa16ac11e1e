"""Outputs that two runs never share. Does not import torch.

A run claims its output folder before it does anything else: a folder `.NAME.claim` beside it that says who writes
there. The output is written inside the claim, brought to disk, and renamed. Claims rest on one thing, which every file
system keeps: a folder that is renamed onto one with something in it fails. Locks, which some do not keep, are not
used. A claim never lacks its owner, since it is filled before it gets its name.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hello_distill.system.distributed import launched
from hello_distill.system.errors import InputError
from hello_distill.system.owners import Owner, beside, seat, sweep
from hello_distill.system.room import FULL, full

TRIES = 100
"""How often a claim that changes under our eyes is looked at again, 10 ms apart."""


class Claim:
    """An output that this process alone may write."""

    def __init__(self, target: Path, owner: Owner) -> None:
        self.target = target
        self.owner = owner
        self.thread = threading.get_ident()
        self.leaving = beside(target)
        """Where the claim goes when it is given up."""

    @property
    def partial(self) -> Path:
        """Where the output is written until it is complete."""
        return _folder(self.target) / "partial"

    def release(self) -> None:
        """Give the claim up, with what was not published. May be called again where it was interrupted."""
        folder = _folder(self.target)
        if self.owner.pid != os.getpid():
            return  # of the parent of this process
        if self.owner in _owners(folder)[-1:]:  # and not removed by hand, or taken by another
            with suppress(OSError):
                folder.rename(self.leaving)
        shutil.rmtree(self.leaving, ignore_errors=True)


_held: list[Claim] = []


def abandon() -> None:
    """Release all claims of this process, before it ends without unwinding."""
    for claim in list(_held):
        claim.release()


@contextmanager
def claimed(out: str | Path) -> Iterator[Claim]:
    """Hold the claim on an output that must not exist yet. Where this thread holds it already, nothing happens.

    Raises InputError where it exists, where it cannot be made or where another run has claimed it; MachineError where
    the disk is full. The claim of a process of this machine that has ended is taken over, and what it left removed.
    Of several processes that train together the first holds it, and the others write nothing.
    """
    target = Path(out)
    mine = (os.getpid(), threading.get_ident(), target.absolute())
    check_absent(target)
    if launched().rank > 0:
        yield Claim(target, Owner.me())
    elif held := [claim for claim in _held if (claim.owner.pid, claim.thread, claim.target.absolute()) == mine]:
        yield held[0]
    else:
        with reserved(target) as claim:
            check_absent(target)
            yield claim


@contextmanager
def reserved(target: Path, wait: bool = False) -> Iterator[Claim]:
    """Hold the claim on an output, there or not; with `wait`, after other processes of this machine."""
    claim = Claim(target, Owner.me())
    _held.append(claim)  # before it is taken, so that a signal meanwhile finds it
    try:
        _take(claim, wait)
        shutil.rmtree(claim.partial, ignore_errors=True)
        yield claim
    finally:
        try:
            claim.release()
        except BaseException:  # a signal came meanwhile
            claim.release()
            raise
        finally:
            _held.remove(claim)


def check_absent(target: Path) -> None:
    """Raise InputError if something has the name already."""
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists already; name another output, or remove it")


def writer(target: Path) -> Owner | None:
    """Another process that has claimed an output and, as far as can be seen from here, still runs."""
    owner = next(iter(_owners(_folder(target))[-1:]), None)
    return None if owner is None or owner.gone() or (owner.seat, owner.pid) == (seat(), os.getpid()) else owner


def _take(claim: Claim, wait: bool) -> None:
    """Come to hold a claim, or raise what `claimed` does."""
    try:
        claim.target.parent.mkdir(parents=True, exist_ok=True)
        _inherit(claim.target, claim.owner, wait)
    except OSError as error:
        if error.errno in FULL:
            raise full(claim.target, 1) from None
        raise InputError(f"{claim.target} cannot be made: {error.strerror}; name another output") from None


def _inherit(target: Path, me: Owner, wait: bool) -> None:
    """Become the owner of a claim: the first, or the heir of one that has ended.

    An heir names its forerunner, so that of several heirs one comes in, and one who has looked too long at an old claim
    does not inherit a new one.
    """
    folder, tries = _folder(target), 0
    while tries < TRIES:
        owners = _owners(folder)
        if owners and not owners[-1].gone():
            if not wait or owners[-1].seat != me.seat:
                raise _refusal(target, owners[-1])
            time.sleep(0.2)
            continue
        _make_claim(target, me, folder / f"after-{owners[-1].token}" if owners else folder)
        if _owners(folder)[-1:] == [me]:
            sweep(target)
            return
        tries += 1
        time.sleep(0.01)
    raise InputError(f"{folder} is in the way and names no run; remove it")


def _refusal(target: Path, owner: Owner) -> InputError:
    if owner.seat == seat():
        return InputError(f"{target} is being written by process {owner.pid}; wait for it, or name another output")
    return InputError(
        f"{target} is claimed by process {owner.pid} of {owner.host}, which cannot be seen from here; name another "
        f"output, or remove {_folder(target)} if that process no longer runs"
    )


def _make_claim(target: Path, owner: Owner, claim: Path) -> None:
    """Make the folder of a claim, with its owner's name in it, unless there is one."""
    draft = beside(target)
    try:
        draft.mkdir()
        (draft / "owner.json").write_text(json.dumps(owner._asdict()), encoding="utf-8")
        draft.rename(claim)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _owners(folder: Path) -> list[Owner]:
    """The owners of a claim, from the first to the heir of heirs that holds it; none where there is no claim."""
    owners: list[Owner] = []
    claim = folder
    with suppress(OSError, ValueError, TypeError):
        while True:
            owners.append(Owner(**json.loads((claim / "owner.json").read_text(encoding="utf-8"))))
            claim = folder / f"after-{owners[-1].token}"
    return owners


def _folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.claim")
