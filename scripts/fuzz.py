"""Fuzz what opens artefacts: mutated files, in memory, through every reader; only our own errors may come out.

    python scripts/fuzz.py --seconds 60       # needs the extra [fuzz]
    python scripts/fuzz.py --replay FILE      # one saved input again, with its traceback

A call that raises anything else, takes over twenty times the processor time of the slowest call on an unchanged
artefact (three times in a row), or raises the memory of the process by more than 64 MiB is a finding; so is a process
that hangs, dies or, in the midst of a call, grows by 512 MiB. Findings are saved in out/fuzz, each once, and the exit
code is then 1.

An input is two bytes, which file and which reader, and the file's new content. With the lowest bit of the second byte
set, sizes and hashes of the artefact are made to fit the new content, as whoever means harm would do.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

READERS = {
    "info": "hello_distill.format.costs:info",
    "load": "hello_distill.artifact:load",
    "verify": "hello_distill.api:verify",
}
"""Functions of a folder. Another one is a line here."""
SLOW = 20
"""A call that takes so many times as long as one on an unchanged artefact is slow: machines differ in seconds."""
MEMORY = 64 * 2**20
LONGEST = 1 << 17
"""Bytes of an input."""
WEIRD: list[Any] = [
    None, True, -1, 0, 1, 3, 500_000, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "../x", "/etc/passwd", "C:\\x", "file:///etc/passwd", "\0", "\ud800", "((.+)+)+!", "{}", "{0.__class__}",
    "a" * 10_000, [], {}, [[]], [None], [1, 2, 3], {"x": 1}, ["x", "x"], "local-dir:/", "stored", "teacher",
    "projector", "int4",
]  # fmt: skip
CLASSES = ("circle", "square", "cross")


# The artefacts that are mutated.


def make_tree(folder: Path, side: int = 16) -> Path:
    """Drawn images of three classes, eight each, and two to test on."""
    from PIL import Image, ImageDraw

    for split, count in (("train", 8), ("test", 2)):
        for number in range(count):
            for kind in CLASSES:
                picture = Image.new("RGB", (side, side), (20 * number, 40, 80))
                pen, box = ImageDraw.Draw(picture), (2, 2, 8 + number, 8 + number)
                {"circle": pen.ellipse, "square": pen.rectangle, "cross": pen.line}[kind](box, fill=(250, 200, 90))
                place = folder / split / kind
                place.mkdir(parents=True, exist_ok=True)
                picture.save(place / f"{number}.png")
    return folder


def make_clip(folder: Path) -> Path:
    """An open_clip checkpoint with random weights, as narrow as it can be."""
    import open_clip
    import safetensors.torch
    import torch

    vision = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "patch_size": None}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    folder.mkdir()
    config = {"model_cfg": {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps({**config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.CLIP(16, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text), quick_gelu=True)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "open_clip_model.safetensors")
    return folder


def make_artefacts(folder: Path) -> Path:
    """One artefact of each family of labels, through the package's own commands, in seconds."""
    from dataclasses import replace

    from hello_distill.api import distill
    from hello_distill.recipes import find
    from hello_distill.relabel import relabel, wanted

    clip = make_clip(folder / "clip")
    brief = {"epochs": 1, "batch_size": 8}
    changes = {
        "ipc": 1,
        "max_side": 16,
        "teachers": {"network": "convnet1_w4", "weak_epochs": [1], "steps": None, "optim": brief},
        "student": {"network": "convnet1_w4", "optim": brief},
        "distiller": {
            "patches": {"factor": 1, "crops": 1, "pool": 2},
            "projector": {
                "encoder": f"local-dir:{clip}",
                "size": None,
                "encoder_rank": 1,
                "head_rank": 1,
                "steps": None,
                "optim": brief,
            },
            "update": None,
        },
    }
    recipe = find("demo").with_changes(changes)
    tree, made = make_tree(folder / "tree"), folder / "artefacts"
    distill(str(tree), made / "projector", replace(recipe, ipc=2))
    for kind in ("hard", "stored"):
        relabel(made / "projector", made / kind, wanted(kind=kind))
    return made


# One input: a file of an artefact with other content, and a reader.


class Artefacts:
    """The artefacts below a folder, and a place in memory where one of them at a time lies mutated."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.place = place
        self.kept = {
            root.name: {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
            for root in sorted(folder.iterdir())
        }
        self.files = [(name, file) for name, files in self.kept.items() for file in files]

    def inputs(self) -> Iterator[bytes]:
        """Every file as it is, for every reader."""
        for number in range(len(self.files)):
            for reader in range(len(READERS)):
                yield self.whole(number, 2 * reader)

    def whole(self, number: int, second: int) -> bytes:
        """The input that leaves a file as it is."""
        name, file = self.files[number]
        return bytes([number, second]) + self.kept[name][file]

    def file(self, data: bytes) -> str:
        """Path, inside its artefact, of the file that an input mutates."""
        return self.files[data[0] % len(self.files)][1]

    def reader(self, data: bytes) -> str:
        """Name of the reader that an input is for."""
        return list(READERS)[data[1] // 2 % len(READERS)]

    def lay(self, data: bytes) -> Path:
        """Write the artefact that an input describes, and forget what `datasets` cached of the one before."""
        name, file = self.files[data[0] % len(self.files)]
        for folder in (self.place, self.place.parent / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        for path, content in (self.kept[name] | {file: data[2:]}).items():
            (self.place / path).parent.mkdir(parents=True, exist_ok=True)
            (self.place / path).write_bytes(content)
        if data[1] % 2:
            seal(self.place)
        return self.place


def seal(folder: Path) -> None:
    """Bring the sizes and hashes that an artefact records up to its files."""

    def entry(path: Path) -> dict[str, Any]:
        return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    del files["SHA256SUMS"]
    manifest = folder / "hello.json"
    try:
        content = json.loads(manifest.read_bytes())
        content["files"] = {name: entry(path) for name, path in files.items() if path != manifest}
        manifest.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    except (ValueError, TypeError, RecursionError):
        pass  # no manifest that could be sealed
    sums = [f"{entry(path)['sha256']}  {name}\n" for name, path in files.items()]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


@cache
def opened(reader: str) -> Callable[[Path], Any]:
    """A reader by its name."""
    module, _, function = READERS[reader].partition(":")
    found: Callable[[Path], Any] = getattr(importlib.import_module(module), function)
    return found


def usual(artefacts: Artefacts) -> float:
    """Seconds of processor time of the slowest call on an unchanged artefact, each of them after a first one."""
    slowest = 0.0
    for data in artefacts.inputs():
        folder, read = artefacts.lay(data), opened(artefacts.reader(data))
        start = time.process_time()
        read(folder)
        slowest = max(slowest, time.process_time() - start)
    return slowest


def attempt(read: Callable[[Path], Any], folder: Path, limit: float = float("inf")) -> tuple[str, str] | None:
    """What is wrong with a call, as a short name and a text; None where it did as it should.

    `limit` is the processor time, in seconds, from which a call is slow.
    """
    from hello_distill.system.errors import HelloError

    forget_peak()
    start, before, wrong = time.process_time(), peak(), None
    try:
        read(folder)
    except HelloError:
        pass
    except Exception as error:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "hello_distill" in f.filename]
        place = f"{Path(ours[-1].filename).name}-{ours[-1].lineno}" if ours else "outside"
        wrong = f"{type(error).__name__}-{place}", traceback.format_exc()
    seconds = time.process_time() - start
    if wrong is None and seconds > limit:
        wrong = "slow", f"{seconds:.1f} seconds, where {limit:.1f} are allowed"
    if wrong is None and peak() - before > MEMORY:
        wrong = "memory", f"{(peak() - before) / 2**20:.0f} MiB more than before"
    return wrong


def peak() -> int:
    """The most bytes of memory that this process has taken since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Measure the most memory afresh: else a call that takes much would hide all later ones that take less."""
    Path("/proc/self/clear_refs").write_text("5")


# How inputs are mutated.


def mutate(data: bytes, artefacts: Artefacts, rng: random.Random, blind: Callable[[bytes], bytes]) -> bytes:
    """Another input: a node of JSON replaced where the file is or holds JSON, or bytes changed blindly.

    Half of them start from a file as it was made: what the fuzzer keeps soon is no JSON any more.
    """
    if rng.random() < 0.5 or len(data) < 2:
        data = artefacts.whole(rng.randrange(len(artefacts.files)), rng.randrange(2 * len(READERS)))
    head, content, file = data[:2], data[2:], artefacts.file(data)
    try:
        if file.endswith(".json") and rng.random() < 0.7:
            return head + in_json(content, rng)
        if file.endswith(".safetensors") and rng.random() < 0.5:
            length = int.from_bytes(content[:8], "little")
            header = in_json(content[8 : 8 + length], rng)
            return head + len(header).to_bytes(8, "little") + header + content[8 + length :]
    except (ValueError, RecursionError, OverflowError):
        pass
    return head + blind(content)


def in_json(content: bytes, rng: random.Random) -> bytes:
    """JSON with one node replaced, removed, repeated or wrapped. Raises ValueError where it is none."""
    tree = json.loads(content)
    spots = list(nodes(tree))
    if not spots:
        raise ValueError("nothing to replace")
    holder, key = rng.choice(spots)
    change = rng.randrange(6)
    if change == 0:
        del holder[key]
    elif change == 1:
        other, its_key = rng.choice(spots)
        holder[key] = json.loads(json.dumps(other[its_key]))
    elif change == 2:
        holder[key] = [holder[key]] * rng.choice([1, 2, 1000])
    elif change == 3 and isinstance(holder, dict):
        holder[str(rng.choice(WEIRD))] = holder.pop(key)
    else:
        holder[key] = rng.choice(WEIRD)
    return json.dumps(tree).encode()


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value inside JSON: what holds it, and its key or index."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield tree, key
        yield from nodes(value)


# The run.


def fuzz(work: Path, findings: Path, seconds: int) -> None:
    """Fuzz in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["hello_distill"]):
        for reader in READERS:
            opened(reader)
        import hello_distill.labels.sources.projector
        import hello_distill.labels.sources.recording  # noqa: F401
    quicken()
    artefacts = Artefacts(work / "artefacts", work / "mutated")
    corpus = work / "corpus"
    corpus.mkdir()
    highest = 0
    for number, data in enumerate(artefacts.inputs()):
        (corpus / str(number)).write_bytes(data)
        wrong = attempt(opened(artefacts.reader(data)), artefacts.lay(data))
        if wrong and wrong[0] != "memory":  # which a first call may well take
            sys.exit(f"an unchanged artefact cannot be read: {wrong[1]}")
        highest = max(highest, peak())
    seen: set[str] = set()
    limit = SLOW * usual(artefacts)

    def one(data: bytes) -> None:
        if len(data) < 2:
            return
        reader = artefacts.reader(data)
        wrong = attempt(opened(reader), artefacts.lay(data), limit)
        for _ in range(2):  # an input is slow where it is so each time: the machine does other things, too
            if wrong and wrong[0] == "slow":
                wrong = attempt(opened(reader), artefacts.lay(data), limit)
        if wrong and (name := f"{reader}-{wrong[0]}") not in seen:
            seen.add(name)
            (findings / name).write_bytes(data)
            print(f"FOUND {name}: {wrong[1].strip().splitlines()[-1]}", flush=True)

    def mutator(data: bytes, longest: int, seed: int) -> bytes:
        def blind(content: bytes) -> bytes:
            return bytes(atheris.Mutate(content, longest - 2))

        return mutate(data, artefacts, random.Random(seed), blind)[:longest]

    most = max(highest, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 2**20 + 512
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        f"-rss_limit_mb={most}",
        f"-max_len={LONGEST}",
        "-print_final_stats=1",
    ]
    print(f"memory with unchanged artefacts: {highest / 2**20:.0f} MiB; slow from {limit:.1f} seconds", flush=True)
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={findings}/", str(corpus)], one, custom_mutator=mutator)
    atheris.Fuzz()


def quicken() -> None:
    """Load the trusted encoder once; it is the same for every input."""
    from hello_distill import encoders

    load, kept = encoders.load, {}

    def load_once(name: Any, size: Any = None) -> Any:
        key = repr((name, size))
        if key not in kept:
            kept[key] = load(name, size)
        return kept[key]

    encoders.load = load_once


def start(seconds: int, findings: Path, work: Path) -> int:
    """Fuzz in a process of its own, so that whatever ends it is a finding, too. Returns the exit code."""
    shutil.rmtree(findings, ignore_errors=True)
    findings.mkdir(parents=True)
    command = [sys.executable, __file__, "--seconds", str(seconds), "--findings", str(findings), "--work", str(work)]
    subprocess.run([*command, "--make"], check=True, stdout=subprocess.DEVNULL)
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout
        for line in run.stdout:
            lines = [*lines[-200:], line]
            if line.startswith(("FOUND ", "memory ", "stat::peak", "Done ")):
                print(line, end="", flush=True)
    found = sorted(findings.iterdir())
    if run.returncode:
        (findings / "log").write_text("".join(lines))
        print(f"the fuzzer ended with {run.returncode}; its last lines are in {findings}/log", file=sys.stderr)
    print(f"{len(found)} findings in {seconds} seconds" + (f"; inputs are in {findings}" if found else ""))
    return 1 if found or run.returncode else 0


def replay(file: Path, work: Path) -> int:
    """One saved input again. Returns the exit code."""
    artefacts = Artefacts(make_artefacts(work), work / "mutated")
    data = file.read_bytes()
    read = opened(artefacts.reader(data))
    attempt(read, artefacts.lay(next(artefacts.inputs())))  # a first call takes long
    limit = SLOW * usual(artefacts)
    wrong = attempt(read, artefacts.lay(data), limit)
    print(f"{artefacts.reader(data)} of an artefact with another {artefacts.file(data)}:")
    print(wrong[1] if wrong else "did as it should")
    return 1 if wrong else 0


def main() -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"), help="folder for inputs that are findings")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a saved input")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return 0 if make_artefacts(options.work).is_dir() else 1
    if options.work:
        fuzz(options.work, options.findings, options.seconds)
    if importlib.util.find_spec("atheris") is None and not options.replay:
        print("fuzzing needs atheris; install it with `pip install '.[fuzz]'`", file=sys.stderr)
        return 3
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hello-fuzz-", dir=place) as scratch:
        work = Path(scratch)
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
        os.environ["HELLO_DISTILL_ENCODERS"] = str(work / "clip")
        return replay(options.replay, work) if options.replay else start(options.seconds, options.findings, work)


if __name__ == "__main__":
    sys.exit(main())
