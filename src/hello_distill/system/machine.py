"""The machine under a run: device, allocator, cache folder, versions, random generators."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hello_distill.system.errors import InputError, MachineError

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "datasets", "open_clip_torch", "timm", "peft", "safetensors")


def device() -> str:
    """`cuda` where there is one, else `cpu`; HELLO_DISTILL_DEVICE overrules."""
    import torch

    return os.environ.get("HELLO_DISTILL_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make everything inside that draws from torch's global generators depend on `seed` alone."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def autocast(precision: str) -> AbstractContextManager[Any]:
    """Where products and convolutions are made in a precision: `bfloat16`, or `float32`, which changes nothing.

    Raises MachineError for a GPU that has no bfloat16.
    """
    if precision == "float32":
        return nullcontext()
    import torch

    kind = device().partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise MachineError(
            f"{torch.cuda.get_device_name()} has no bfloat16; set the `optim.precision` that asks for it to float32"
        )
    return torch.autocast(kind, torch.bfloat16)


def compile_asked() -> str:
    """HELLO_DISTILL_COMPILE: 1, or 0 where it is not set. Raises InputError for what is neither."""
    asked = os.environ.get("HELLO_DISTILL_COMPILE") or "0"
    if asked not in ("0", "1"):
        raise InputError(f"HELLO_DISTILL_COMPILE is {asked!r}; set it to 1 or to 0, or not at all")
    return asked


def compiled(model: nn.Module) -> Callable[..., Any]:
    """The model as torch.compile calls it where HELLO_DISTILL_COMPILE is 1, else itself.

    Raises what `compile_asked` does.
    """
    if compile_asked() == "0":
        return model
    import torch

    made: Callable[..., Any] = torch.compile(model)
    return made


def keep_freed_memory() -> None:
    """Ask glibc to reuse large freed blocks: training on a CPU gains up to 1.8 times from it.

    Without it every large activation is mapped and unmapped at every step.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)


def memory() -> dict[str, int]:
    """Bytes of memory: all, and what programs could still take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    kibibytes = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
    return {"all": 1024 * kibibytes["MemTotal"], "free": 1024 * kibibytes["MemAvailable"]}


def peak_memory() -> int:
    """Most bytes of memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cache_folder() -> Path:
    """Where fetched and derived files are kept: HELLO_DISTILL_CACHE, else the user's cache folder.

    Raises MachineError where this user has no home.
    """
    chosen = os.environ.get("HELLO_DISTILL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(chosen) if chosen else Path(base).expanduser() / "hello-distill"
    except RuntimeError:
        raise MachineError("this user has no home folder to cache in; set HELLO_DISTILL_CACHE to a folder") from None


def rest_offline_if_unreachable() -> None:
    """Spare the Hub's client its many retries: from here on it uses its cache alone if the Hub does not answer."""
    import datasets
    import huggingface_hub as hub

    if hub.constants.HF_HUB_OFFLINE:
        return
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=5)
    except Exception:  # whatever the network layer raises, the answer is the same
        hub.constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = True


@cache
def commit() -> str | None:
    """Commit of the source that runs, with `+` behind it where the package differs from it; None outside a checkout.

    Asked once a process: the source may change while it runs.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """Name of the processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def gpu() -> str | None:
    """Name of the GPU that is used, if one is."""
    import torch

    used = device()
    return torch.cuda.get_device_name(used) if used.startswith("cuda") and torch.cuda.is_available() else None


def environment() -> dict[str, Any]:
    """What a result must say of where it was made: commit, versions, hardware, of a GPU its name."""
    return {
        **versions(),
        "commit": commit(),
        "device": device(),
        **({"gpu": name} if (name := gpu()) else {}),
        "processor": processor(),
        "system": platform.system(),
    }


def versions() -> dict[str, Any]:
    """Versions of Python and of the packages that shape a result, and the number of threads."""
    import torch

    return {
        "hello_distill": metadata.version("hello-distill"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
