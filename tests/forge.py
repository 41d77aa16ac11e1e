"""Hostile artefacts: true ones, changed by a forger who makes all hashes right again."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conftest import seal
from hello_distill.format.manifest import IMAGES

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2, 2**31, 2**63, 10**30, 1e308, -0.5, float("nan"), float("inf"), "", "x" * 100_000, "../x",
    "/etc/passwd", "C:\\x", "\\\\host\\share", "file:///etc/passwd", "http://127.0.0.1:9/x", "hf-hub:a/b",
    "local-dir:/etc",
    "local-dir", "os.system", "__main__:Projector", "((.+)+)+!", "\0", "\x1b[31mred", "{0.__class__}",
    "{:>1000000000}", [], {}, [[]] * 1000, {"_target_": "os.system", "args": ["true"]},
    "timm/hf_hub:a/b", "encoder/lite@32",
)  # fmt: skip


class Pickled:
    """Makes a file if anybody unpickles it."""

    def __init__(self, sentinel: str) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.sentinel,))


def leaves(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a JSON document."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place, *(path for key, value in inner for path in leaves(value, (*place, key)))]


def put(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at a path."""
    if not place:
        return value
    if isinstance(content, dict):
        return {key: put(old, place[1:], value) if key == place[0] else old for key, old in content.items()}
    return [put(old, place[1:], value) if number == place[0] else old for number, old in enumerate(content)]


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "hello.json").read_text())


def field(folder: Path, rng: random.Random, secret: Path) -> None:
    """Any value of the manifest."""
    content = {key: value for key, value in manifest_of(folder).items() if key != "files"}
    place = rng.choice([path for path in leaves(content) if path])
    seal(folder, **put(content, place, rng.choice(NASTY)))


def key(folder: Path, rng: random.Random, secret: Path) -> None:
    """A field too many, or one too few."""
    content = {key: value for key, value in manifest_of(folder).items() if key != "files"}
    parts = [path for path in leaves(content) if isinstance(at(content, path), dict) and at(content, path)]
    place = rng.choice(parts)
    part = dict(at(content, place))
    if rng.random() < 0.5:
        part.pop(rng.choice(list(part)))
    else:
        part[rng.choice(["more", "__class__", "../x", ""])] = rng.choice(NASTY)
    changed = put(content, place, part)
    (folder / "hello.json").write_text(json.dumps(changed))
    seal(folder)


def at(content: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        content = content[part]
    return content


def files_field(folder: Path, rng: random.Random, secret: Path) -> None:
    """A file that is listed elsewhere, or with another size or hash."""
    content = manifest_of(folder)
    name = rng.choice(list(content["files"]))
    entry = content["files"].pop(name)
    names = [
        "../x",
        "/etc/passwd",
        str(secret),
        "C:\\x",
        "a/../../x",
        "data/x\0y",
        "",
        "data",
        "projector/adapter_model.bin",
    ]
    content["files"][rng.choice([*names, name])] = {
        "bytes": rng.choice([entry["bytes"], -1, 2**62]),
        "sha256": "0" * 64,
    }
    (folder / "hello.json").write_text(json.dumps(content))


def text(folder: Path, rng: random.Random, secret: Path) -> None:
    """A manifest that is no manifest."""
    forms = [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 2}', b'{"format": 2, "format": 2}', b"[" * 10_000,
        b'{"a":' * 10_000, b"1" * 5_000, b'{"format": ' + b"9" * 5_000 + b"}", b"\x00" * 100, b" " * (17 * 2**20),
        (folder / "hello.json").read_bytes() + b"{}",
    ]  # fmt: skip
    (folder / "hello.json").write_bytes(rng.choice(forms))


def adapter_config(folder: Path, rng: random.Random, secret: Path) -> None:
    """A peft configuration of the forger's own."""
    file = folder / "projector" / "adapter_config.json"
    if not file.exists():
        return field(folder, rng, secret)
    content = json.loads(file.read_text())
    changes = [
        {"r": 500_000}, {"target_modules": "((.+)+)+!"}, {"base_model_name_or_path": "http://127.0.0.1:9/x"},
        {"peft_type": "NOTHING"}, {"auto_mapping": {"base_model_class": "system", "parent_library": "os"}},
        {"rank_pattern": {"((.+)+)+!": 8}}, {"modules_to_save": ["visual"]}, {"init_lora_weights": "pissa"},
    ]  # fmt: skip
    file.write_text(json.dumps({**content, **rng.choice(changes)}))
    seal(folder)


def tensors_of(folder: Path, rng: random.Random) -> Path | None:
    """Any of the files with tensors."""
    found = sorted(folder.rglob("*.safetensors"))
    return rng.choice(found) if found else None


def safetensors_file(head: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head + body


def malformed(content: bytes, rng: random.Random, secret: Path) -> list[bytes]:
    """A file of tensors that breaks the format, or keeps it and holds something else: 25 ways."""
    size = struct.unpack("<Q", content[:8])[0]
    head, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = rng.choice([name for name in head if name != "__metadata__" and head[name]["dtype"].startswith("F")])
    start, end = head[name]["data_offsets"]
    dumped = json.dumps
    empty = {"dtype": "F16", "shape": [0], "data_offsets": [len(body)] * 2}

    def changed(**fields: Any) -> bytes:
        return safetensors_file(dumped({**head, name: {**head[name], **fields}}).encode(), body)

    twice = f'{{"{name}": {dumped(head[name])}, ' + dumped(head)[1:]
    return [
        b"", content[:7], content[: 8 + size // 2],
        content[:-1], content + b"\0",
        safetensors_file(b"{}", b"", 2**63), safetensors_file(b" " * (2**20 + 8), body),
        safetensors_file(b"not json"), safetensors_file(b"[" * 10_000), safetensors_file(b"[]"),
        safetensors_file(twice.encode(), body), changed(data_offsets=[start + 1, end + 1]),
        changed(data_offsets=[end, start]), changed(data_offsets=[-1, end]),
        changed(dtype="F64"),
        changed(dtype="PICKLE"), changed(shape=[2**40, 2**40]), changed(shape=[-1]),
        changed(shape=[]), changed(shape="x"), changed(shape=[[1]]),
        safetensors_file(dumped({k: v for k, v in head.items() if k != name}).encode(), body),
        safetensors_file(dumped({**head, "more": empty}).encode(), body),
        safetensors_file(dumped(head).encode(), body[:start] + b"\xff" * (end - start) + body[end:]),
        pickle.dumps(Pickled(str(secret.parent / "unpickled"))),
    ]  # fmt: skip


def tensors(folder: Path, rng: random.Random, secret: Path) -> None:
    """One of these in place of a file of tensors."""
    file = tensors_of(folder, rng)
    if file is None:
        return images(folder, rng, secret)
    file.write_bytes(rng.choice(malformed(file.read_bytes(), rng, secret)))
    seal(folder)


def images(folder: Path, rng: random.Random, secret: Path) -> None:
    """A table of images that breaks the format, or keeps it and holds something else."""
    file = folder / IMAGES
    content, table = file.read_bytes(), pq.read_table(file)
    rows = table.to_pylist()
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 20_000, 20_000) + b"\x08\x02\0\0\0" + b"\0" * 20
    link = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file://{secret}">]><svg>&y;</svg>'.encode()
    kind = rng.randrange(11)
    if kind < 3:
        file.write_bytes([b"PAR1", content[: len(content) // 2], content[:-4] + b"PAR2"][kind])
    elif kind == 3:
        place = rng.randrange(len(content) - 200, len(content) - 8)
        file.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    elif kind < 8:
        place = rng.randrange(len(rows))
        picture = [b"", bomb, link, pickle.dumps(Pickled(str(secret.parent / "unpickled")))][kind - 4]
        rows[place]["image"] = {"bytes": picture, "path": str(secret)}
        pq.write_table(pa.Table.from_pylist(rows, table.schema), file, compression="none", use_dictionary=False)
    elif kind == 8:
        rows[0]["label"] = rng.choice([-1, 99, 2**62, None])
        pq.write_table(pa.Table.from_pylist(rows, table.schema), file, compression="none", use_dictionary=False)
    elif kind == 9:
        rows[0]["image"] = {"bytes": None, "path": str(secret)}
        pq.write_table(pa.Table.from_pylist(rows, table.schema), file, compression="none", use_dictionary=False)
    else:
        pq.write_table(table, file, compression="gzip")
    seal(folder)


def place(folder: Path, rng: random.Random, secret: Path) -> None:
    """Something in the folder that leads elsewhere, or does not belong there."""
    names = [*manifest_of(folder)["files"], "hello.json", "SHA256SUMS"]
    name = folder / rng.choice(names)
    kind = rng.randrange(10)
    if kind == 9:
        (folder / "adapter_model.bin").write_bytes(pickle.dumps(Pickled(str(secret.parent / "unpickled"))))
        return
    if kind == 8:
        for number in range(2_000):
            (folder / f"{number}").touch()
        return
    name.unlink()
    if kind == 0:
        name.symlink_to(secret)
    elif kind == 1:
        name.symlink_to(name)
    elif kind == 2:
        os.mkfifo(name)
    elif kind == 3:
        os.link(secret, name)
    elif kind == 4:
        name.mkdir()
    elif kind == 5:
        (name.parent / "more").mkdir()
        (name.parent / "more" / name.name).touch()
    elif kind == 6:
        name.symlink_to("/dev/zero")
    # 7: it is just not there


FORGERS: tuple[Callable[[Path, random.Random, Path], None], ...] = (
    field, field, field, key, files_field, text, adapter_config, tensors, tensors, images, place,
)  # fmt: skip
