"""What the command finds on this machine, and what to do where something is amiss. No network, nothing written."""

from __future__ import annotations

import importlib
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hello_distill.system import room
from hello_distill.system.errors import MachineError, nearest, one_line
from hello_distill.system.machine import cache_folder, environment, memory

CORE = {
    **{name: name for name in ("torch", "torchvision", "numpy", "datasets", "timm", "peft", "safetensors")},
    **{name: name for name in ("huggingface_hub", "jaxtyping", "jsonargparse", "rich")},
    **{"PIL": "pillow", "open_clip": "open_clip_torch", "yaml": "pyyaml"},
}
"""Modules that nothing works without, with their packages."""
OURS = tuple(f"HELLO_DISTILL_{name}" for name in ("CACHE", "COMPILE", "DEVICE", "ENCODERS", "IMAGES"))
OTHERS = ("HF_HUB_OFFLINE", "NO_COLOR", "HF_HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
LEAST_MEMORY = 2 * 2**30
LEAST_DISK = 2**30


def examine() -> dict[str, Any]:
    """Versions, machine, caches, encoders and variables.

    `broken` lists, one sentence each, what the core cannot do without; `problems` what may get in the way. Encoders,
    devices and the caches of other packages are looked at where the core can be imported.
    """
    broken = [problem for module, package in CORE.items() if (problem := import_problem(module, package))]
    diagnosis: dict[str, Any] = {
        "versions": {"python": platform.python_version()},
        "cores": len(os.sched_getaffinity(0)),
        "memory": memory(),
        "disk": {
            name: {"folder": str(folder), "free": room.free(folder)}
            for name, folder in (("cache", cache_folder()), ("here", Path.cwd()))
        },
        "caches": {"hello-distill": cache(cache_folder())},
        "encoders": {"lite": [], "hub": [], "folders": []},
        "variables": variables(),
        "problems": list(problems_here()),
        "broken": broken,
    }
    if not broken:
        diagnosis["versions"] = environment()
        diagnosis["broken"] = list(device_problems(diagnosis["versions"]["device"]))
        diagnosis["caches"] |= foreign_caches()
        diagnosis["encoders"], problems = encoders()
        diagnosis["problems"] += problems
    diagnosis["problems"] += cache_problems(diagnosis["caches"])
    return diagnosis


def import_problem(module: str, package: str) -> str | None:
    """What to do about a module that cannot be imported; None where it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package may raise anything while it is imported
        said = one_line(error) or type(error).__name__
        return f"{package} cannot be imported ({said}); install it again with `pip install --force-reinstall {package}`"
    return None


def problems_here() -> Iterator[str]:
    """Too little memory for the smallest recipe, too little or no room to write, variables that nobody reads."""
    free = memory().get("free", LEAST_MEMORY)
    if free < LEAST_MEMORY:
        yield f"{free / 2**30:.1f} GiB of memory are free; end other programs or lower `max_side` in a --config file"
    for folder, remedy in ((cache_folder(), "set HELLO_DISTILL_CACHE to another disk"), (Path.cwd(), "work elsewhere")):
        if (free := room.free(folder)) < LEAST_DISK:
            yield f"{free / 2**20:.0f} MiB are free at {folder}; make room, or {remedy}"
    if not os.access(Path.cwd(), os.W_OK):
        yield f"{Path.cwd()} is not writable; work elsewhere, or give --out a full path"
    for name in variables():
        if name.startswith("HELLO_DISTILL_") and name not in OURS:
            yield f"the variable {name} is unknown and has no effect: {nearest(name, OURS)}"


def cache(folder: Path) -> dict[str, Any]:
    """A cache's folder, bytes of the files in it (links not followed), and whether it can be written to."""
    existing, total = room.existing(folder), 0
    for below, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # gone meanwhile, or not ours to look at
                status = Path(below, name).lstat()
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return {"folder": str(folder), "bytes": total, "writable": existing.is_dir() and os.access(existing, os.W_OK)}


def foreign_caches() -> dict[str, Any]:
    """The caches of the Hub's client and of `datasets`."""
    import datasets
    import huggingface_hub

    hub, tables = huggingface_hub.constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE
    return {"Hub": cache(Path(hub)), "datasets": cache(Path(tables))}


def cache_problems(caches: dict[str, Any]) -> list[str]:
    """Caches that cannot be written to."""
    variable = {"hello-distill": "HELLO_DISTILL_CACHE", "Hub": "HF_HOME", "datasets": "HF_HOME"}
    return [
        f"the cache of {name} at {facts['folder']} is not writable; set {variable[name]} to a folder that is"
        for name, facts in caches.items()
        if not facts["writable"]
    ]


def device_problems(device: str) -> Iterator[str]:
    """A device on which nothing can be computed."""
    import torch

    try:
        torch.zeros(1, device=device).add(1).item()
    except Exception as error:  # torch raises many kinds for a device that is not there
        said = str(error).strip().splitlines() or [type(error).__name__]
        yield f"nothing can be computed on the device {device!r} ({said[0]}); set HELLO_DISTILL_DEVICE=cpu"


def variables() -> dict[str, str]:
    """The variables that change what the command does, where they are set."""
    ours = {name for name in os.environ if name.startswith("HELLO_DISTILL_")}
    return {name: os.environ[name] for name in sorted({*ours, *OTHERS} & os.environ.keys())}


def encoders() -> tuple[dict[str, Any], list[str]]:
    """Encoders at hand with the hashes of their weights, and what is wrong with the others.

    The offline one, open_clip's weights in the Hub's cache, checkpoints in the folders of HELLO_DISTILL_ENCODERS.
    """
    import huggingface_hub

    from hello_distill.encoders import FOLDERS, Weights, listed_folders, lite
    from hello_distill.encoders.openclip import FILE

    usable: dict[str, list[Weights]] = {"lite": [], "hub": [], "folders": []}
    problems: list[str] = []
    try:
        usable["lite"] = [Weights.of(file, name) for name, file in lite.weight_files().items()]
    except MachineError as error:
        problems.append(str(error))
    for file in sorted(Path(huggingface_hub.constants.HF_HUB_CACHE).glob(f"models--*/snapshots/*/{FILE}")):
        usable["hub"].append(Weights.of(file, file.parts[-4].removeprefix("models--").replace("--", "/")))
    for folder in listed_folders():
        if missing := [name for name in (FILE, "open_clip_config.json") if not os.access(folder / name, os.R_OK)]:
            problems.append(
                f"{folder} in {FOLDERS} has no {' and no '.join(missing)} that can be read; add or remove it"
            )
        else:
            usable["folders"].append(Weights.of(folder / FILE, str(folder)))
    if not any(usable.values()):
        problems.append(
            "there is no encoder; `pip install 'hello-distill[lite]'`, go online once, or name folders with open_clip "
            f"checkpoints in {FOLDERS}"
        )
    return {kind: list(map(vars, weights)) for kind, weights in usable.items()}, problems
