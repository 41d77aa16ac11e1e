"""Which process made a file, and whether it still runs. Does not import torch."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

BOOT = "/proc/sys/kernel/random/boot_id"
"""Another content after each start of the machine, and one for all of its containers."""
UNSEEN = "unseen"
"""When a process began that runs, but may not be looked at."""


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
    machine: str = ""
    """Hash of the machine's name and its id, which stay when it is started anew; empty in older claims."""
    boot: str = ""
    """Hash of the kernel's id of this start of the machine; empty where it has none."""
    job: str = ""
    """Slurm's job: its cluster, its number, its place in an array. Empty outside of Slurm."""
    restarts: int = 0
    """How often Slurm had requeued that job."""

    @classmethod
    def me(cls) -> Owner:
        """This process, for a new claim."""
        pid, host = os.getpid(), socket.gethostname()
        machine, boot = _hash(host, _text("/etc/machine-id")), _text(BOOT)
        claim = host, seat(), pid, _started(pid) or "", secrets.token_hex(4)
        return cls(*claim, machine, boot and _hash(boot), *_slurm())

    def gone(self) -> bool:
        """Whether the process is known to have ended. False also where it cannot be seen from here.

        A machine that was started anew has ended all that ran on it, and Slurm starts a requeued job, which keeps its
        number, once its former run is over.
        """
        me = Owner.me()
        if self.seat == me.seat:
            return _started(self.pid) not in (self.started, UNSEEN)
        rebooted = self.machine == me.machine and "" not in (self.boot, me.boot) and self.boot != me.boot
        return rebooted or (self.job == me.job != "" and self.restarts < me.restarts)


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
    parts = [socket.gethostname(), _text(BOOT)]
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return _hash(*parts)


def _slurm() -> tuple[str, int]:
    """The job of Slurm that this process belongs to, and how often it was requeued: see `Owner.job`."""
    names = "SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID"
    cluster, number, place = (os.environ.get(name, "") for name in names)
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")  # not there before the first
    return f"{cluster} {number} {place}" if number else "", int(restarts) if restarts.isdigit() else 0


def _text(file: str) -> str:
    """What a file of the system says; nothing where it is not there."""
    with suppress(OSError):
        return Path(file).read_text(encoding="utf-8", errors="replace")
    return ""


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> str | None:
    """When a process began; None where it has ended."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *rest = line.rpartition(")")[2].split()
    except (OSError, ValueError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return UNSEEN
    return None if state in "ZX" else rest[18]
