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

    @classmethod
    def me(cls) -> Owner:
        """This process, for a new claim."""
        pid = os.getpid()
        return cls(socket.gethostname(), seat(), pid, _started(pid) or "", secrets.token_hex(4))

    def gone(self) -> bool:
        """Whether the process is known to have ended. False also where it cannot be seen from here."""
        return self.seat == seat() and _started(self.pid) not in (self.started, UNSEEN)


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
