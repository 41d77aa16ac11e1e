"""What a stranger's file asks of this machine: no more memory and time than an honest one, and no other error."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import footer
from conftest import cheap, seal
from hello_distill import api as pipeline
from hello_distill import cli, teachers
from hello_distill.artifact import load
from hello_distill.data.licence import UNKNOWN, Origin, source_of
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import costs
from hello_distill.format.manifest import IMAGES, LARGEST_FILE, MOST_VALUES, parse
from hello_distill.labels.projector import adapter_config
from hello_distill.recipes import RECIPES, find
from hello_distill.relabel import relabel, wanted
from hello_distill.system.errors import ArtifactError, InputError


@pytest.fixture(scope="module")
def stored(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact with stored labels."""
    return relabel(artefact, tmp_path_factory.mktemp("stored") / "a", wanted("stored"))


def labels_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "hello.json").read_text())["labels"]
    return found


# The manifest.


def filled(unit: str, size: int = LARGEST_FILE, values: int = MOST_VALUES) -> bytes:
    """A manifest of so many units where its classes should be, at most so large and with so many values."""
    count = min((size - 100) // len(unit), (values - 10) // sum(map(unit.count, ",[{{{{")))
    return b'{"format": 2, "classes": [' + unit.encode() * count + b"0]}"


@pytest.mark.parametrize("unit", ["[],", "[0],", '{"a":0},', "1,", '"x",'])
def test_a_manifest_of_many_values_is_refused_before_it_takes_memory(unit: str, tmp_path: Path) -> None:
    """Of 4 MB it would take 1.5 GB to list what is wrong with it."""
    with cheap(2.0), pytest.raises(ArtifactError, match="holds more than 40000 values"):
        parse(filled(unit, values=LARGEST_FILE), tmp_path)
    with cheap(2.0), pytest.raises(ArtifactError, match="cannot be trusted"):
        parse(filled(unit), tmp_path)


@pytest.mark.parametrize("text", ['{"a": "' + '\\"' * 2_000_000, '"' * LARGEST_FILE, "\\" * LARGEST_FILE])
def test_text_that_ends_nowhere_is_refused_at_once(text: str, tmp_path: Path) -> None:
    with cheap(), pytest.raises(ArtifactError, match="cannot be read as JSON"):
        parse(text.encode(), tmp_path)


def test_signs_inside_of_texts_are_no_values(artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    names = [f"{place} " + '[{,\\" ' * 140 for place in range(4)]
    content = json.loads((folder / "hello.json").read_text())
    text = json.dumps({**content, "classes": names, "files": content["files"]}).encode()
    assert parse(text, folder)["classes"] == names


def test_labels_in_millions_of_files_are_refused_at_once(stored: Path, tmp_path: Path) -> None:
    """Their names alone would take gigabytes."""
    folder = shutil.copytree(stored, tmp_path / "a")
    seal(folder, labels={**labels_of(folder), "batches": 2**24, "batches_per_file": 1})
    with cheap(), pytest.raises(ArtifactError, match="labels lie in more files than an artefact can list"):
        load(folder)


def test_a_file_that_is_listed_wrongly_is_named(artefact: Path, tmp_path: Path) -> None:
    content = json.loads((artefact / "hello.json").read_text())
    entry = content["files"].pop("config.json")
    with pytest.raises(ArtifactError, match=r"the file 'config\.json' is not listed"):
        parse(json.dumps(content).encode(), tmp_path)
    content["files"] |= {"config.json": entry, "../x": entry}
    with pytest.raises(ArtifactError, match=r"the file '\.\./x' is listed, and no part of it"):
        parse(json.dumps(content).encode(), tmp_path)


def test_a_setting_that_is_null_is_refused(stored: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stored, tmp_path / "a")
    seal(folder, labels={**labels_of(folder), "codec": {"name": "float16", "k": None}})
    for way in (costs.info, load):
        with pytest.raises(ArtifactError, match=r"codec\.k`: Input should be a valid integer"):
            way(folder)


@pytest.mark.parametrize("name", ["\x1b[31mred", "\x9b31mred", "\x85"])
def test_names_of_figures_hold_no_control_characters(name: str, artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    seal(folder, figures={name: 1.0})
    with pytest.raises(ArtifactError, match=r"`figures`: Value error, must not hold control characters"):
        load(folder)


def test_texts_are_shown_as_they_are(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no markup, which would end in a traceback or show what is not there."""
    monkeypatch.setenv("COLUMNS", "200")
    folder = shutil.copytree(artefact, tmp_path / "a")
    labels = labels_of(folder)
    encoder = {**labels["encoder"], "knows": "[/x] [red]all[/red] :smile:"}
    seal(folder, labels={**labels, "encoder": encoder}, figures={"[/y]": 1.0, "teacher_bytes": 5e9})
    assert cli.main(["info", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "[/x] [red]all[/red] :smile:" in shown and "[/y]" in shown
    assert "4.7 GiB" in shown  # a large teacher's bytes are a whole number


# The file of images. Numbers of fields are those of Parquet's footer.

GROUPS, COLUMNS, GROUP_ROWS = 4, 1, 3


def groups(foot: footer.Struct) -> list[footer.Struct]:
    found: list[footer.Struct] = foot[GROUPS][1][1]
    return found


def twice(foot: footer.Struct) -> None:
    groups(foot).append(groups(foot)[0])


def never(foot: footer.Struct) -> None:
    groups(foot).clear()


def half(foot: footer.Struct) -> None:
    groups(foot)[0][GROUP_ROWS] = (6, 3)


def no_columns(foot: footer.Struct) -> None:
    groups(foot).append({**groups(foot)[0], COLUMNS: (9, (12, []))})


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (twice, "it holds more than its head says"),
        (never, "it holds 0 images, its head says 8"),
        (half, "it holds 3 images, its head says 8"),
        (no_columns, "a part of it lacks columns"),
    ],
)
def test_images_that_are_counted_wrongly_are_refused(how: Any, told: str, artefact: Path, tmp_path: Path) -> None:
    """None may be made of memory that nobody wrote."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    footer.change(folder / IMAGES, how)
    seal(folder)
    with pytest.raises(ArtifactError, match=told):
        load(folder)


@pytest.mark.parametrize("field", [2, 4, 5])
def test_a_head_that_claims_a_million_entries_is_refused(field: int, artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")

    def claims(foot: footer.Struct) -> bytes:
        before = footer.write_struct({number: value for number, value in foot.items() if number < field})[:-1]
        step = field - max((number for number in foot if number < field), default=0)
        return before + bytes([step << 4 | 9, 0xFC]) + footer.write_number(999_999)

    footer.change(folder / IMAGES, claims)
    seal(folder)
    with cheap(), pytest.raises(ArtifactError, match="Exceeded size limit"):
        load(folder)


def test_labels_that_are_a_bomb_are_refused(artefact: Path, tmp_path: Path) -> None:
    """36 KB of labels that unpack to a gigabyte: the eight labels, and zeros that nobody asked for."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    file = folder / IMAGES
    labels = struct.pack("<I", 2) + b"\x10\1" + np.zeros(8, "<i8").tobytes()
    size = len(labels) + 2**30
    packed = pa.Codec("zstd").compress(labels + bytes(2**30), asbytes=True)
    kind = {1: (5, 8), 2: (5, 0), 3: (5, 3), 4: (5, 3)}
    page = footer.write_struct({1: (5, 0), 2: (5, size), 3: (5, len(packed)), 5: (12, kind)}) + packed
    place = file.stat().st_size - 8 - struct.unpack("<I", file.read_bytes()[-8:-4])[0]

    def point(foot: footer.Struct) -> None:
        column = groups(foot)[0][COLUMNS][1][1][2][3][1]
        del column[11]  # its dictionary
        column |= {4: (5, 6), 6: (6, size), 7: (6, len(page)), 9: (6, place)}

    footer.change(file, point, page)
    seal(folder)
    with cheap(), pytest.raises(ArtifactError, match="its labels take more than labels do"):
        load(folder)


@pytest.mark.parametrize("how", ["dictionary", "prefixes"])
def test_images_that_repeat_at_no_cost_are_refused(how: str, artefact: Path, tmp_path: Path) -> None:
    """A picture of 2 MB, 500 times, in a file of 2 MB: 64 at a time would be 128 MB."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    file, count = folder / IMAGES, 500
    table = pq.read_table(file)
    picture = table["image"][0]["bytes"].as_py() + bytes(2**21)
    rows = [{"image": {"bytes": picture, "path": None}, "label": 0}] * count
    table, plain = pa.Table.from_pylist(rows, table.schema), {"compression": "none"}
    if how == "dictionary":
        pq.write_table(table, file, dictionary_pagesize_limit=2**30, **plain)

        def hide(foot: footer.Struct) -> None:
            column = groups(foot)[0][COLUMNS][1][1][0][3][1]
            column[9] = column.pop(11)

        footer.change(file, hide)
    else:
        pq.write_table(table, file, use_dictionary=False, column_encoding={"image.bytes": "DELTA_BYTE_ARRAY"}, **plain)
    assert file.stat().st_size < 1.1 * len(picture)
    seal(folder, ipc=count, images={**json.loads((folder / "hello.json").read_text())["images"], "count": count})
    del rows, table
    with cheap(), pytest.raises(ArtifactError, match="it holds more than its head says"):
        load(folder)


# The accuracy that is stated.

RUNS = {"mean": 71.0, "sd": 1.0, "runs": [70.0, 71.0, 72.0]}
ONE_RUN = {"mean": 50.0, "sd": None, "runs": [50.0]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"top1_last": {**RUNS, "mean": 99.0}}, "mean and standard deviation are not those of the runs"),
        ({"top1_last": {**RUNS, "sd": 0.1}}, "mean and standard deviation are not those of the runs"),
        ({"top1_last": {**RUNS, "sd": None}}, "mean and standard deviation are not those of the runs"),
        ({"top1_last": ONE_RUN}, "there are more or fewer runs than seeds"),
        ({"top1_last": ONE_RUN, "top1_best": ONE_RUN, "seeds": [0]}, "that of at least 3 different seeds"),
        ({"seeds": [0, 1, 1]}, "that of at least 3 different seeds"),
    ],
)
def test_an_accuracy_is_that_of_its_runs(changes: dict[str, Any], told: str, artefact: Path, tmp_path: Path) -> None:
    """The range that `evaluate` holds students to comes from the runs, and what people read is the mean."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    sound = {"seeds": [0, 1, 2], "top1_last": RUNS, "top1_best": RUNS, "test_images": 24, "environment": {}}
    sound["test_sha256"] = "0" * 64
    seal(folder, expected=sound)
    assert load(folder).manifest["expected"] == sound
    seal(folder, expected={**sound, **changes})
    with pytest.raises(ArtifactError, match=told):
        load(folder)


def test_links_are_refused_also_where_hashes_are_not_read(artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    costs.info(folder)
    (folder / IMAGES).unlink()
    (folder / IMAGES).symlink_to(artefact / IMAGES)
    with pytest.raises(ArtifactError, match=r"is a link, which no artefact holds"):
        costs.info(folder)


# The card of the images' source.


@pytest.mark.parametrize(
    ("text", "licences"),
    [
        ("---\nlicense: mit\n---\n", ["mit", None, None]),
        ("---\r\nx: 1\r\nlicense:\r\n- mit\r\n- cc0-1.0\r\n---\r\n", ["mit, cc0-1.0", None, None]),
        ("---\nlicense: other\nlicense_name: >\n  my\n  own\n\n  words\n---\n", ["other", "my own words", None]),
        ("---\nlicense: ~\nlicense_link: 'LICENSE'\n---\nlicense: mit", [None, None, "LICENSE"]),
        ('---\nlicense: "a\\x1b[31mb"\n---\n', ["a\\x1b[31mb", None, None]),
        (f"---\nlicense_name: {'x' * 5000}\n---\n", [None, "x" * 1000, None]),
        ("license: mit\n", [None] * 3),
        ("---\nlicense: !!python/object/apply:os.system [x]\n---\n", ["x", None, None]),
        ("---\nlicense: {a: b}\n---\n", [None] * 3),
        (f"---\nlicense: {'[' * 10_000}\n---\n", [None] * 3),
        ("---\nlicense: [[[\n---\n", [None] * 3),
        ("---\n" + "\n" * 10**6 + "x", [None] * 3),
        ("---\n" + "license:\n" * 10**5 + "x\n---\n", [None] * 3),
    ],
)
def test_the_licence_of_a_card_is_a_line_of_text(text: str, licences: list[str | None], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(text.encode())
    with cheap(2.0):
        assert source_of(str(tmp_path)) == Origin(None, *licences)


def test_a_card_that_unfolds_without_end_gives_no_licence(tmp_path: Path) -> None:
    """451 bytes that are 10^9 texts once they are written out."""
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)]
    (tmp_path / "README.md").write_text(f"---\na0: &a0 [{'x, ' * 10}]\n{''.join(lists)}license: *a8\n---\n")
    with cheap():
        assert source_of(str(tmp_path)) == UNKNOWN


def test_a_card_that_leads_elsewhere_is_not_opened(tmp_path: Path) -> None:
    data, secret, card = tmp_path / "data", tmp_path / "secret", tmp_path / "data" / "README.md"
    data.mkdir()
    secret.write_text("---\nlicense: secret\n---\n")
    for leads in (lambda: card.symlink_to(secret), lambda: card.symlink_to("/dev/zero"), lambda: os.mkfifo(card)):
        leads()
        assert source_of(str(data)) == UNKNOWN
        card.unlink()


# What an artefact could not say is refused before it is made.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"student": {"temperature": 0}}, "`student.temperature`: Input should be greater than 0"),
        ({"student": {"beta": -1.0}}, "`student.beta`: Input should be greater than or equal to 0"),
        ({"student": {"evaluations": 0}}, "`student.evaluations`"),
        ({"student": {"augment": {"scale": [1.0, 0.1]}}}, "`student.augment.scale`: .*the smaller number first"),
        ({"codec": {"quality": 150}}, "`codec.quality`: Input should be less than or equal to 100"),
        (
            {"distiller": {"projector": {"templates": ["a photo"]}}},
            r"`distiller.projector.templates.0`: .*must hold {} once",
        ),
        ({"distiller": {"projector": {"encoder_rank": 2000}}}, "`distiller.projector.encoder_rank`"),
        (
            {"distiller": {"patches": {"factor": 0}}},
            "`distiller.patches.factor`: Input should be greater than or equal",
        ),
        ({"distiller": {"patches": {"crops": 0}}}, "`distiller.patches.crops`"),
        ({"distiller": {"update": {"batch_size": 0}}}, "`distiller.update.batch_size`"),
        ({"distiller": {"update": {"factor": 0}}}, "`distiller.update.factor`"),
        ({"distiller": {"projector": {"queries": {"rounds": 0}}}}, "`distiller.projector.queries.rounds`"),
        ({"teachers": {"steps": 0}}, "`teachers.steps`"),
        ({"student_steps": 0}, "student_steps is 0"),
        ({"student_steps": 10**11}, "student_steps is 100000000000; a training has 1 to 16777216 steps"),
        ({"max_side": 0}, "max_side must be between 1 and 4096 for these images, not 0"),
    ],
)
def test_what_no_artefact_could_say_is_told_before_any_training(
    changes: dict[str, Any], told: str, tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "distill_material", None)
    with pytest.raises(InputError, match=f"config: {told}"):
        pipeline.distill(str(tree), tmp_path / "a", recipe.with_changes(changes))


def test_every_recipe_asks_for_what_an_artefact_can_say() -> None:
    for name in RECIPES:
        pipeline.check_settings(find(name))


def test_crops_of_a_stranger_name_the_smaller_number_first(artefact: Path, tmp_path: Path) -> None:
    """Else a training would end in a traceback."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    student = json.loads((folder / "hello.json").read_text())["student"]
    seal(folder, student={**student, "augment": {**student["augment"], "ratio": [1.3, 0.7]}})
    with pytest.raises(ArtifactError, match=r"student.augment.ratio.*must name the smaller number first"):
        load(folder)


@pytest.mark.parametrize("name", ["regnet_y_400mf", "resnet18", "timm/resnet18"])
def test_what_is_stored_of_a_network_is_what_is_written(name: str) -> None:
    weights = teachers.weights(teachers.network(name, 3, 32))
    layout = {key: ("F16", tuple(value.shape)) for key, value in weights.items()}
    assert teachers.kept_layout(name, 3, 32) == layout


def test_only_convolutions_are_adapted(artefact: Path, tmp_path: Path) -> None:
    """peft would take other layers, and fail on some of them when they are merged."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    labels = labels_of(folder)
    names = [*labels["convolutions"][1:], "attnpool.q_proj"]
    config = adapter_config(names, labels["encoder_rank"], labels["head_rank"])
    (folder / "projector" / "adapter_config.json").write_text(config)
    seal(folder, labels={**labels, "convolutions": names})
    with pytest.raises(ArtifactError, match=r"adapts 'attnpool\.q_proj', which is no convolution of 'local-dir'"):
        load(folder)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_without_unicode_shows_letters_by_number(encoding: str, artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    seal(folder, figures={"\u72ac": 1.0})
    command = [sys.executable, "-m", "hello_distill", "info", str(folder)]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=True)
    assert ("\\u72ac" if encoding == "ascii" else "\u72ac").encode() in done.stdout
