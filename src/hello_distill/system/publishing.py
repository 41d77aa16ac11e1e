"""Outputs that appear whole or not at all, and that two runs never share. Does not import torch.

A run claims its output folder before it does anything else: a folder `.NAME.claim` beside it that says who writes
there. The output is written inside the claim, brought to disk, and renamed. Claims rest on one thing, which every file
system keeps: a folder that is renamed onto one with something in it fails. Locks, which some do not keep, are not
used. A claim never lacks its owner, since it is filled before it gets its name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hello_distill.system.errors import InputError, MachineError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk or a quota is full."""
UNSEEN = "unseen"
"""When a process began that runs, but may not be looked at."""
TRIES = 100
"""How often a claim that changes under our eyes is looked at again, 10 ms apart."""


class Owner(NamedTuple):
    """A process that claims an output."""

    host: str
    """The machine's name, for people."""
    seat: str
    """Whose process numbers these are: hash of the machine's name, its boot and the process namespace."""
    pid: int
    started: str
    """When the process began, in clock ticks since boot: numbers of processes come again."""
    token: str
    """Another one for each claim."""

    @classmethod
    def me(cls) -> Owner:
        """This process, for a new claim."""
        pid = os.getpid()
        return cls(socket.gethostname(), seat(), pid, _started(pid) or "", secrets.token_hex(4))

    def gone(self) -> bool:
        """Whether the process is known to have ended. False also where it cannot be seen from here."""
        return self.seat == seat() and _started(self.pid) not in (self.started, UNSEEN)


class Claim:
    """An output that this process alone may write."""

    def __init__(self, target: Path, owner: Owner) -> None:
        self.target = target
        self.owner = owner
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
    """Hold the claim on an output that must not exist yet.

    Raises InputError where it exists, where it cannot be made or where another run has claimed it; MachineError where
    the disk is full. The claim of a process of this machine that has ended is taken over, and what it left removed.
    """
    target = Path(out)
    check_absent(target)
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


@contextmanager
def published(out: str | Path | Claim, needed: int) -> Iterator[Path]:
    """A folder to write into, which gets its name when all went well, and else disappears.

    Files come to disk before the name does, readable for whom the umask lets. Raises MachineError where `needed` bytes
    are not free, or turn out not to be; and what `claimed` raises where `out` is not claimed yet.
    """
    if not isinstance(out, Claim):
        with claimed(out) as claim, published(claim, needed) as partial:
            yield partial
        return
    with room(out.target, needed):
        try:
            out.partial.mkdir()
            yield out.partial
            _settle(out.partial)
            check_absent(out.target)
            out.partial.rename(out.target)
            _sync(out.target.parent)
        except BaseException:
            shutil.rmtree(out.partial, ignore_errors=True)
            raise


def write(file: Path, content: bytes) -> None:
    """Write a file, or leave the old one as it is. Raises MachineError where there is no room for it."""
    with room(file, len(content)):
        sweep(file)
        partial = beside(file)
        try:
            with partial.open("xb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(file)
            _sync(file.parent)
        finally:
            partial.unlink(missing_ok=True)


def path(out: str | Path | Claim) -> Path:
    """Where an output is, or will be."""
    return out.target if isinstance(out, Claim) else Path(out)


def permit(path: Path) -> None:
    """Give a file or folder the mode that the umask leaves; safetensors leaves files to the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def check_absent(target: Path) -> None:
    """Raise InputError if something has the name already."""
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists already; choose another --out or remove it")


def check_writable(folder: Path) -> None:
    """Make a folder, and raise MachineError where nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = beside(folder / "probe")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        if error.errno in FULL:
            raise full(folder, 1) from None
        raise MachineError(f"{folder} cannot be written: {error.strerror}; choose another folder") from None


@contextmanager
def room(target: Path, needed: int) -> Iterator[None]:
    """Write `needed` bytes below here. Raises MachineError where they are not free, or turn out not to be."""
    check_room(target, needed)
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full(target, needed) from None


def check_room(target: Path, needed: int, rough: bool = False) -> None:
    """Raise MachineError where fewer than `needed` bytes are free; `rough` says that they are a forecast."""
    if needed > free(target):
        raise full(target, needed, "about " if rough else "")


def free(target: Path) -> int:
    """Bytes that may be written where a path is or shall be."""
    place = next(path for path in (target.absolute(), *target.absolute().parents) if path.exists())
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def full(target: Path, needed: int, about: str = "") -> MachineError:
    """The error for a disk without room for `needed` bytes."""
    return MachineError(
        f"{target} cannot be written: it needs {about}{needed:,} bytes, and {free(target):,} are free; "
        "make room and run the same command again"
    )


def _take(claim: Claim, wait: bool) -> None:
    """Come to hold a claim, or raise what `claimed` does."""
    try:
        claim.target.parent.mkdir(parents=True, exist_ok=True)
        _inherit(claim.target, claim.owner, wait)
    except OSError as error:
        if error.errno in FULL:
            raise full(claim.target, 1) from None
        raise InputError(f"{claim.target} cannot be made: {error.strerror}; choose another --out") from None


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
        _placed(target, me, folder / f"after-{owners[-1].token}" if owners else folder)
        if _owners(folder)[-1:] == [me]:
            sweep(target)
            return
        tries += 1
        time.sleep(0.01)
    raise InputError(f"{folder} is in the way and names no run; remove it")


def _refusal(target: Path, owner: Owner) -> InputError:
    if owner.seat == seat():
        return InputError(f"{target} is being written by process {owner.pid}; wait for it or choose another --out")
    return InputError(
        f"{target} is claimed by process {owner.pid} of {owner.host}, which cannot be seen from here; choose another "
        f"--out, or remove {_folder(target)} if that process no longer runs"
    )


def _placed(target: Path, owner: Owner, place: Path) -> None:
    """Put a folder with the owner's name in its place, unless another is there."""
    draft = beside(target)
    try:
        draft.mkdir()
        (draft / "owner.json").write_text(json.dumps(owner._asdict()), encoding="utf-8")
        draft.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _owners(folder: Path) -> list[Owner]:
    """The owners of a claim, from the first to the heir of heirs that holds it; none where there is no claim."""
    owners: list[Owner] = []
    place = folder
    with suppress(OSError, ValueError, TypeError):
        while True:
            owners.append(Owner(**json.loads((place / "owner.json").read_text(encoding="utf-8"))))
            place = folder / f"after-{owners[-1].token}"
    return owners


def _folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.claim")


def beside(target: Path) -> Path:
    """A new name beside a target, which says whose it is."""
    return target.with_name(f".{target.name}.{seat()}-{os.getpid()}-{secrets.token_hex(4)}")


def sweep(target: Path) -> None:
    """Remove what processes of this machine left beside a target when they were killed."""
    start = f".{target.name}.{seat()}-"
    for path in target.parent.iterdir():
        pid = path.name.removeprefix(start).partition("-")[0]
        if path.name.startswith(start) and pid.isdigit() and _started(int(pid)) is None:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def seat() -> str:
    """A hash of what process numbers are good for: the machine, since it was started, in this namespace."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> str | None:
    """When a process began; None where it has ended."""
    try:
        state, *rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (OSError, ValueError):
        return UNSEEN if _runs(pid) else None
    return None if state in "ZX" else rest[18]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _settle(folder: Path) -> None:
    """Bring a folder to disk."""
    for path in (folder, *folder.rglob("*")):
        permit(path)
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
