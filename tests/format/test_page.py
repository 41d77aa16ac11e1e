"""docs/file-format.md against the code: its tables against what is written, its own Python against what is loaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import hello_distill as hd
from conftest import drawn
from hello_distill.artifact import save_relabelled
from hello_distill.format import sizes
from hello_distill.format.codecs import CODECS
from hello_distill.format.kinds import KINDS
from hello_distill.format.manifest import IMAGES, Manifest
from hello_distill.format.precision import packed
from hello_distill.format.specs import Augment
from hello_distill.labels.sources.recording import Draw
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.relabel import relabel, wanted
from hello_distill.stages.kept import fingerprint
from hello_distill.views import sample_views

RECORDED = Path(__file__).parents[1] / "recorded"
TEXT = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text(encoding="utf-8")
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"projector {form}": ("projector", {"precision": form}) for form in ("float32", "float16", "int8", "int4")},
    **{f"teacher {form}": ("teacher", {"precision": form}) for form in ("float16", "int8", "int4")},
    "static": ("static", {}),
    "stored": ("stored", {}),
    "stored views": ("stored", {"views": 2}),
    "pruned": ("pruned", {"keep": 0.5}),
    **{f"quantized {form}": ("quantized", {"codec": form, "keep": 0.5}) for form in ("int8", "float8")},
    "quantized topk": ("quantized", {"codec": "topk", "k": 1}),
    "hard": ("hard", {}),
}
"""Kinds of labels with their options, such that every form of them is there."""
TWO = "teacher of two networks"


def tables(text: str) -> Iterator[list[dict[str, str]]]:
    """The tables of a Markdown text, each row by the names of its columns; `\\|` does not occur."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        assert all(len(row) == len(head) for row in rows), block
        yield [dict(zip(head, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def reader() -> dict[str, Any]:
    """What the page's Python defines."""
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(code, names)
    return names


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A tiny artefact of every form of labels, made of those that 0.1.0 recorded."""
    folder = tmp_path_factory.mktemp("forms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELLO_DISTILL_ENCODERS", str(RECORDED / "clip"))
        patch.setattr(sizes, "SHARD", 1)  # an epoch of stored labels for each file
        made = {
            form: relabel(
                RECORDED / ("projector" if kind == "projector" else "teacher"),
                folder / form.replace(" ", "-"),
                wanted(kind, **options),
            )
            for form, (kind, options) in FORMS.items()
        }
        artifact = hd.load(made["teacher int8"])
        one = artifact.labels
        two = TeacherLabels(one.networks * 2, one.members * 2, one.side)
        yield {**made, TWO: save_relabelled(made["hard"], two, artifact.student, folder / "two")}


# Fields.


def leaves(schema: dict[str, Any], definitions: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below a JSON schema: its place, written as the page does, and its own schema."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    for name, inner in schema.get("properties", {}).items():
        below = f"{place}.{name}".lstrip(".")
        yield below, inner
        yield from leaves(inner, definitions, below)
    for other in schema.get("anyOf", ()):
        yield from leaves(other, definitions, place)
    if isinstance(items := schema.get("items"), dict):
        yield from leaves(items, definitions, f"{place}[]")
    if schema.get("type") == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        yield from leaves(values, definitions, f"{place}.*")


def of_page() -> dict[str, dict[str, dict[str, str]]]:
    """Rows of the page's fields: by kind of labels ("" for what all have), then by place."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    places: list[tuple[str, str]] = []
    for row in (row for table in tables(TEXT) if "field" in table[0] for row in table):
        if row["object"]:
            named = re.findall(r"`([^`]+)`(?: \(([\w, ]+)\))?", row["object"])
            places = [(kind, place) for place, kinds in named for kind in (kinds.split(", ") if kinds else [""])]
        for kind, place in places:
            name = row["field"].strip("`")
            whole = name if place == "hello.json" else f"{place}.{name}"
            found.setdefault(kind, {})[whole] = row
    return found


@pytest.mark.parametrize("kind", sorted(KINDS.ours))
def test_every_field_of_hello_json_is_in_the_tables_and_no_other(kind: str) -> None:
    schema = Manifest[KINDS.find(kind).part].model_json_schema()  # type: ignore[name-defined]
    fields = dict(leaves(schema, schema["$defs"], ""))
    rows = of_page()[""] | of_page()[kind]
    assert set(rows) == set(fields)
    for place, field in fields.items():
        row = rows[place]
        assert row["meaning"], place
        for value in field.get("enum", ()):
            assert f"`{value}`" in row["type"], place
        for limit in ("minimum", "maximum", "maxItems"):
            if (number := field.get(limit)) is not None:
                power = f"2^{int(number).bit_length() - 1}"
                assert f"{int(number):,}" in row["type"] or (power in row["type"] and number == 2 ** int(power[2:]))
    required = {place for place in fields if "may be absent" not in rows[place]["type"]}
    assert {name for name in fields if "." not in name} & required == set(schema["required"])


def test_files_are_those_that_the_page_names(artefacts: dict[str, Path]) -> None:
    named = {*re.findall(r"`([^`\n]+)`", TEXT), *re.findall(r"^### ([\w./]+)", TEXT, re.MULTILINE)}
    for folder in artefacts.values():
        for file in (file for file in folder.rglob("*") if file.is_file()):
            name = re.sub(r"\b(0*)\d(?=\.safetensors)", r"\g<1>0", file.relative_to(folder).as_posix())
            assert name in named or {*name.rpartition("/")[::2]} <= {each.rstrip("/") for each in named}, name


# Tensors.


def tensor_rows(folder: str) -> list[dict[str, str]]:
    """Rows on the tensors in the files of a section."""
    section = re.search(rf"^### {folder}.*?(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section
    return [row for table in tables(section[0]) if "tensor" in table[0] for row in table]


def pattern(row: dict[str, str]) -> str:
    """What the names of a row's tensors match."""
    return re.escape(row["tensor"].split("`")[1]).replace("NAME", ".+")


SECTION = {"projector": "projector/", "teacher": "teacher/", "static": "labels/static", "hard": ""}


def form_of(labels: dict[str, Any]) -> str:
    """The column of the page's tables that holds the types."""
    return labels["codec"]["name"] if "codec" in labels else labels.get("precision", "float16")


def test_every_tensor_is_in_the_tables_and_every_row_has_one(
    artefacts: dict[str, Path], reader: dict[str, Any]
) -> None:
    met: set[tuple[str, int, str]] = set()
    for folder in artefacts.values():
        labels = json.loads((folder / "hello.json").read_text())["labels"]
        section, form = SECTION.get(labels["kind"], "labels/00000"), form_of(labels)
        rows = tensor_rows(section) if section else []
        for file in folder.rglob("*.safetensors"):
            for name, part in reader["safetensors"].deserialize(file.read_bytes()):
                fitting = {
                    (section, number, column)
                    for number, row in enumerate(rows)
                    for column in (form, "any")
                    if re.fullmatch(pattern(row), name) and row.get(column) == part["dtype"]
                }
                assert fitting, (file, name, part["dtype"])
                met |= fitting
    stated = {
        (section, number, column)
        for section in ("projector/", "teacher/", "labels/static", "labels/00000")
        for number, row in enumerate(tensor_rows(section))
        for column, cell in row.items()
        if column not in ("tensor", "shape", "what") and cell
    }
    unwritten = {each for each in stated - met if each[0] == "labels/00000" and each[2] == "float32"}
    assert met == stated - unwritten and len(unwritten) == 1


@pytest.mark.parametrize("name", CODECS)
def test_columns_of_stored_labels_are_those_of_the_codec(name: str) -> None:
    rows = [row for row in tensor_rows("labels/00000") if row.get(name)]
    stated = {pattern(row): (row[name], row["shape"].count(",")) for row in rows}
    assert stated == {key: (kind, len(shape)) for key, (kind, shape) in sizes.label_columns(name, 7, 3).items()}


@pytest.mark.parametrize("form", ["projector float16", "static", "stored", "quantized int8", "quantized topk"])
def test_shapes_are_those_of_the_tables(form: str, artefacts: dict[str, Path], reader: dict[str, Any]) -> None:
    manifest, _, _, kept = reader["opened"](artefacts[form])
    labels = manifest["labels"]
    sizes = {
        **{name: value for name, value in labels.items() if isinstance(value, int)},
        "width": labels.get("encoder", {}).get("width"),
        "classes": len(manifest["classes"]),
        "images": manifest["images"]["count"],
        "k": labels.get("codec", {}).get("k"),
    }
    column = form_of(labels)
    for tensors in kept.values():
        if "length" in tensors:
            sizes |= {"batches": len(tensors["length"]), "views": int(tensors["length"].sum())}
        for name, tensor in tensors.items():
            (row,) = (
                row
                for row in tensor_rows(SECTION.get(labels["kind"], "labels/00000"))
                if re.fullmatch(pattern(row), name) and (row.get(column) or row.get("any"))
            )
            stated = re.sub(r"height, width of the kernel", "height, kernel", row["shape"].strip("()")).split(", ")
            assert tensor.ndim == len(stated), name
            for found, word in zip(tensor.shape, stated, strict=True):
                assert found == (int(word) if word.isdigit() else sizes.get(word) or found), (name, word)


# The page's own code.


@pytest.mark.parametrize("form", [*(form for form in FORMS if form.startswith(("projector", "teacher"))), TWO])
def test_the_page_s_reader_gives_the_numbers_that_are_loaded(
    form: str, artefacts: dict[str, Path], reader: dict[str, Any]
) -> None:
    labels = hd.load(artefacts[form]).labels
    _, _, _, kept = reader["opened"](artefacts[form])
    loaded = [labels.adapter.matrices] if form.startswith("projector") else [m.state_dict() for m in labels.members]
    odd = 0
    for file, state in zip((kept[name] for name in sorted(kept)), loaded, strict=True):
        for name in (name for name in file if not name.endswith(".scale")):
            expected = state[name].cpu().numpy()
            found = reader["numbers"](name, file)
            if f"{name}.scale" in file:
                expected = np.moveaxis(expected, 1, 0) if "lora_B" in name else expected
                expected = expected.reshape(len(expected), -1)
                odd += found.shape != expected.shape
                assert not found[:, expected.shape[1] :].any()
                found = found[:, : expected.shape[1]]
            assert found.dtype == np.float32 and np.array_equal(found, expected), name
    assert bool(odd) == form.endswith("int4")


@pytest.mark.parametrize(
    "form", [form for form, (kind, _) in FORMS.items() if kind in ("stored", "pruned", "quantized")]
)
def test_the_page_s_reader_gives_stored_labels_and_their_views(
    form: str, artefacts: dict[str, Path], reader: dict[str, Any]
) -> None:
    artifact = hd.load(artefacts[form])
    manifest, _, _, kept = reader["opened"](artefacts[form])
    labels, student = manifest["labels"], manifest["student"]
    assert len(kept) == -(-labels["batches"] // labels["batches_per_file"])
    drawn = [
        view
        for epoch in range(-(-labels["batches"] // labels["batches_per_epoch"]))
        for view in reader["views"](
            labels["images"], manifest["images"]["side"], student["optim"]["batch_size"], student["augment"],
            labels["seed"], epoch,
        )
    ]  # fmt: skip
    for batch in range(labels["batches"]):
        view = artifact.labels.kept.view(batch)
        file = kept[f"labels/{batch // labels['batches_per_file']:05d}.safetensors"]
        place = batch % labels["batches_per_file"]
        end = file["length"][: place + 1].sum()
        rows = slice(end - file["length"][place], end)
        found = reader["logits"](file, len(manifest["classes"]))
        images = torch.zeros(len(view.rows), 3, 4, 4)
        assert np.array_equal(found[rows], artifact.labels.kept.labels(images, view).numpy())
        stored = [file[name][rows] for name in ("rows", "box", "flip", "partner")]
        stored += [file["share"][place], file["hole"][place]]
        for one, again, third in zip(stored, view[1:], drawn[batch], strict=True):
            assert np.array_equal(one, np.asarray(again)) and np.array_equal(one, third)


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_the_page_s_views_are_those_that_are_drawn(mix: Any, reader: dict[str, Any]) -> None:
    augment = Augment(scale=(0.01, 1.0), ratio=(0.3, 4.0), mix=mix, alpha=0.7)
    for seed, epoch in ((0, 0), (3, 7)):
        ours = list(sample_views(50, 17, 12, augment, seed, epoch))
        theirs = list(reader["views"](50, 17, 12, vars(augment), seed, epoch))
        for view, again in zip(ours, theirs, strict=True):
            assert all(np.array_equal(np.asarray(a), b) for a, b in zip(view[1:], again, strict=True))


def test_the_page_s_draws_are_those_of_the_code() -> None:
    (draws,) = (table for table in tables(TEXT) if "`draw`" in table[0])
    rounds, replacement = (row["numbers of the batches"].split("`")[1] for row in draws[:2])
    for e in range(5):
        known = {"default_rng": np.random.default_rng, "s": 4, "e": e, "n": 3, "batches": 9}
        assert eval(rounds.split("`")[0], {**known, "p": 3}).tolist() == Draw(False, 4, rounds=True).numbers(9, 3, e)
        assert eval(replacement, known).tolist() == Draw(True, 4).numbers(9, 3, e)
        rng = np.random.default_rng([4, 5, e])
        assert np.concatenate([rng.permutation(2), rng.permutation(2)])[:3].tolist() == Draw(False, 4).numbers(2, 3, e)


def test_eight_bits_of_a_float_are_read_as_torch_reads_them(reader: dict[str, Any]) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    expected = every.view(torch.float8_e4m3fn).float().numpy()
    finite = np.isfinite(expected)
    found = reader["array"]("F8_E4M3", [256], bytes(range(256)))
    assert finite.sum() == 254 and np.array_equal(found[finite], expected[finite])


def test_the_page_s_row_of_int4() -> None:
    said = re.search(r"row ([\d., -]+) with the scale ([\d.]+) is ([\d, -]+), and in bytes `([0-9a-f ]+)`", TEXT)
    assert said
    whole = torch.tensor([[float(number) for number in said[3].split(",")]])
    assert bytes(packed(whole)[0].tolist()) == bytes.fromhex(said[4])
    assert (whole * float(said[2])).tolist() == [[float(number) for number in said[1].split(",")]]


# Everything else that has bytes.


def test_the_hash_of_test_images_is_what_the_field_says() -> None:
    data = drawn(2, seed=0)
    names = json.dumps([[len(data), 3, data.side, data.side], *data.classes])
    pixels, labels = data.images.numpy().tobytes(), data.targets.numpy().astype("<i8").tobytes()
    assert fingerprint(data) == hashlib.sha256(names.encode() + pixels + labels).hexdigest()


def test_columns_are_those_of_the_page(artefacts: dict[str, Path]) -> None:
    file = pq.ParquetFile(artefacts["hard"] / IMAGES)
    (stated,) = (table for table in tables(TEXT) if "Arrow type" in table[0])
    assert [(row["column"].strip("`"), row["Arrow type"].strip("`")) for row in stated] == [
        (column.name, str(column.type)) for column in file.schema_arrow
    ]
    (said,) = re.findall(r"```json\n(.*)\n```", TEXT)
    manifest = json.loads((artefacts["hard"] / "hello.json").read_text())
    said = said.replace('["circle", "square"]', json.dumps(manifest["classes"]))
    assert file.schema_arrow.metadata == {b"huggingface": said.encode()}
    paths = [row["path"] for row in file.read()["image"].to_pylist()]
    assert paths == [f"{number:06d}.png" for number in range(manifest["images"]["count"])]


def test_json_and_sums_are_written_as_the_page_says(artefacts: dict[str, Path]) -> None:
    for folder in artefacts.values():
        for text in ((folder / name).read_bytes() for name in ("hello.json", "config.json")):
            assert text == (json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        lines = (folder / "SHA256SUMS").read_bytes().decode().split("\n")
        assert lines.pop() == ""
        names = [re.fullmatch(r"[0-9a-f]{64}  (\S+)", line)[1] for line in lines]  # type: ignore[index]
        files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        assert names == sorted(files - {"SHA256SUMS"})
        assert set(names) - {"hello.json"} == set(json.loads((folder / "hello.json").read_text())["files"])


def test_peft_s_configuration_is_what_the_page_says(artefacts: dict[str, Path]) -> None:
    folder = artefacts["projector int8"]
    labels = json.loads((folder / "hello.json").read_text())["labels"]
    content = json.loads((folder / "projector" / "adapter_config.json").read_text())
    rank, head = labels["encoder_rank"], {"label_head": labels["head_rank"]}
    assert content == {
        "peft_type": "LORA", "r": rank, "lora_alpha": rank, "rank_pattern": head, "alpha_pattern": head,
        "target_modules": sorted(["label_head", *(f"visual.{name}" for name in labels["convolutions"])]),
        "inference_mode": True,
    }  # fmt: skip
    assert all(f"`{name}`" in TEXT for name in content)
