"""What the page of `hello-distill view` is told: labels as a student gets them, bytes as they lie on disk, refusals."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from starlette.requests import Request

from hello_distill import artifact as artifacts
from hello_distill.artifact import Distilled
from hello_distill.cli import main
from hello_distill.data.parquet import stored_images
from hello_distill.format import costs, sizes
from hello_distill.format.specs import Codec
from hello_distill.system.errors import InputError, MachineError
from hello_distill.system.stopping import SENTENCE, Stopped
from hello_distill.types import View
from hello_distill.viewer import server, shown
from hello_distill.views import render

SIDE = 32
WHOLE = [0, 0, SIDE, SIDE]


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Contents and times of all files, and times of all folders."""
    return {
        str(path): (hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest(), path.stat().st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def page(artefact: Path, kinds: dict[str, Path], before: Path) -> Iterator[str]:
    """The address of a page with a projector and a teacher; what it is made of stays as it is."""
    folders = (artefact, kinds["teacher"], before)
    untouched = [digests(folder) for folder in folders]
    with server.running(shown.opened(artefact, [kinds["teacher"]], before)) as address:
        yield address
    assert [digests(folder) for folder in folders] == untouched


def get(address: str, content: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of a request; a POST where there is content."""
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, content, named), timeout=20) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def labels(page: str, **asked: Any) -> dict[str, Any]:
    status, _, body = get(f"{page}labels", json.dumps(asked).encode())
    assert status == 200, body
    return json.loads(body)


CUTMIX = {"kind": "cutmix", "partner": 5, "hole": [4, 6, 10, 12]}
MIXUP = {"kind": "mixup", "partner": 3, "share": 0.3}


@pytest.mark.parametrize(
    ("box", "flip", "mix"),
    [(WHOLE, False, None), ([3, 5, 20, 11], True, None), ([0, 8, 32, 24], False, CUTMIX), ([9, 2, 9, 9], True, MIXUP)],
)
@pytest.mark.parametrize("earlier", [False, True])
def test_labels_are_those_that_a_student_sees(
    page: str, artefact: Path, kinds: dict[str, Path], before: Path, box: Any, flip: bool, mix: Any, earlier: bool
) -> None:
    """Picture and labels against the library's view of the same batch, and the picture against a crop by hand."""
    given = labels(page, row=1, box=box, flip=flip, mix=mix, before=earlier)
    share, hole, partner = 1.0, (0, 0, 0, 0), 1
    if mix is CUTMIX:
        hole, partner, share = (4, 6, 10, 12), 5, 1 - 120 / 1024
    if mix is MIXUP:
        partner, share = 3, 0.3
    view = View(
        key=0,
        rows=torch.tensor([1, partner]),
        box=torch.tensor([box, WHOLE]),
        flip=torch.tensor([flip, False]),
        partner=torch.tensor([1, 0]),
        share=share,
        hole=hole,
    )
    images = artifacts.load(before if earlier else artefact, "hard").data.images
    rendered = render(images, view)
    assert given["share"] == pytest.approx(share)
    assert [label["name"] for label in given["labels"]] == ["projector", "teacher", "class"]
    for label, folder in zip(given["labels"], (artefact, kinds["teacher"]), strict=False):
        logits = artifacts.load(folder).labels(rendered, view)[0]
        check_top(label["top"], logits.softmax(0), logits)
    targets = artifacts.load(artefact, "hard").data.targets
    check_top(
        given["labels"][2]["top"], share * F.one_hot(targets[1], 4) + (1 - share) * F.one_hot(targets[partner], 4)
    )
    assert np.abs(pixels(given["picture"]) - 255 * by_hand(images, box, flip, mix).numpy()).max() <= 0.5001


def check_top(top: list[dict[str, Any]], probabilities: torch.Tensor, logits: torch.Tensor | None = None) -> None:
    """All classes of positive probability, the most probable first, within 1e-5."""
    order = probabilities.argsort(descending=True)
    order = order[probabilities[order] > 0].tolist()
    assert [entry["class"] for entry in top] == order
    assert [entry["probability"] for entry in top] == pytest.approx(probabilities[order].tolist(), abs=1e-5)
    expected = [None] * len(order) if logits is None else pytest.approx(logits[order].tolist(), abs=1e-5)
    assert [entry["logit"] for entry in top] == expected


def by_hand(images: torch.Tensor, box: list[int], flip: bool, mix: dict[str, Any] | None) -> torch.Tensor:
    """Crop, resize, flip and mix of image 1, written out: (h w 3) in [0, 1]."""
    top, left, height, width = box
    part = images[1:2, :, top : top + height, left : left + width].float() / 255
    image = F.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)[0]
    if flip:
        image = image.flip(2)
    if mix is not None:
        other = images[mix["partner"]].float() / 255
        if mix["kind"] == "mixup":
            image = mix["share"] * image + (1 - mix["share"]) * other
        else:
            image = image.clone()
            image[:, 4:14, 6:18] = other[:, 4:14, 6:18]
    return image.permute(1, 2, 0)


def pixels(address: str) -> np.ndarray:
    content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.float64)


WRONG = [
    ({}, "`row`: Field required"),
    ({"row": 8}, "there is no image 8; the last is 7"),
    ({"row": -1}, "`row`: Input should be greater than or equal to 0"),
    ({"row": 1.5}, "`row`: Input should be a valid integer"),
    ({"row": "1"}, "`row`: Input should be a valid integer"),
    ({"box": [0, 0, 32]}, "`box.3`: Field required"),
    (
        {"box": [0, 0, 0, 32]},
        "`box` [0, 0, 0, 32] (top, left, height, width) is no part of an image of 32 by 32 pixels",
    ),
    ({"box": [1, 0, 32, 32]}, "`box` [1, 0, 32, 32] (top, left"),
    ({"box": [0, 2**60, 1, 1]}, "`box.1`: Input should be less than or equal to"),
    ({"flip": 1}, "`flip`: Input should be a valid boolean"),
    ({"temperature": 2}, "`temperature`: Extra inputs are not permitted"),
    ({"mix": {**CUTMIX, "hole": [0, 0, 33, 1]}}, "`hole` [0, 0, 33, 1]"),
    ({"mix": {**CUTMIX, "partner": 8}}, "there is no image 8"),
    ({"mix": {**MIXUP, "share": 1.01}}, "`mix.mixup.share`: Input should be less than or equal to 1"),
    ({"mix": {"kind": "blend", "partner": 1}}, "`mix`: Input tag 'blend'"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_view_that_cannot_be_is_refused_in_a_sentence(page: str, change: dict[str, Any], said: str) -> None:
    asked = {"row": 1, "box": WHOLE, **change} if change else {"box": WHOLE}
    status, headers, body = get(f"{page}labels", json.dumps(asked).encode())
    assert status == 400 and said in body.decode() and "\n" not in body.decode()
    assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"row": NaN}', b"\xff", b"[" * 4000, b" " * 5000])
def test_what_is_no_view_is_refused(page: str, content: bytes) -> None:
    status, _, body = get(f"{page}labels", content)
    assert status == 400 and b"a view is asked for" in body


def test_only_the_page_s_own_paths_and_methods_are_answered(page: str) -> None:
    for path in ("images/after/8", "images/../after/1", "images/after/-1", "images/elsewhere/0", "hello.json", "docs"):
        assert get(f"{page}{path}")[0] in (400, 404), path
    assert get(f"{page}images/after/8")[0] == 400
    assert get(f"{page}labels")[0] == get(f"{page}artefact", b"{}")[0] == get(page, b"{}")[0] == 405
    good = json.dumps({"row": 0, "box": WHOLE}).encode()
    assert get(f"{page}labels", good, Content_Type="text/plain")[0] == 400
    assert get(f"{page}labels", good)[0] == 200


def test_a_host_that_is_not_this_machine_is_refused(page: str) -> None:
    """A page of elsewhere whose name was rebound to this machine sends that name."""
    port = page.rstrip("/").rpartition(":")[2]
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        "localhost.evil.example",
        "",
    ):
        status, _, body = get(f"{page}artefact", Host=host)
        assert status == 400 and b"fashion" not in body, host
    for host in (f"localhost:{port}", "localhost", f"127.0.0.1:{port}", f"[::1]:{port}", "[::1]"):
        assert get(f"{page}artefact", Host=host)[0] == 200, host
    assert server._ours("box.example:80", "box.example") and not server._ours("box.example:80", "127.0.0.1")


def test_every_answer_keeps_the_page_to_itself(page: str) -> None:
    for path in ("", "page.js", "page.css", "look.css", "artefact", "images/after/0", "nowhere", "labels"):
        headers = get(f"{page}{path}")[1]
        policy = headers["Content-Security-Policy"]
        assert (
            policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", path
        assert headers["X-Content-Type-Options"] == "nosniff" and "Server" not in headers


def test_images_are_the_files_that_are_kept(page: str, artefact: Path, before: Path) -> None:
    for which, folder in (("after", artefact), ("before", before)):
        for row, (_, content) in enumerate(stored_images(folder)):
            _, headers, body = get(f"{page}images/{which}/{row}")
            assert body == content and headers["Content-Type"] == "image/png"


def test_the_description_says_what_is_on_disk(page: str, artefact: Path) -> None:
    described = json.loads(get(f"{page}artefact")[2])
    kept = artifacts.load(artefact)
    assert described["classes"] == list(kept.classes) and described["targets"] == kept.data.targets.tolist()
    assert described["side"] == SIDE and described["before"] and described["notes"] == []
    on_disk = sum(file.stat().st_size for file in (artefact / "projector").iterdir())
    stored = sizes.stored_bytes(4, 8, epochs=3, batch_size=4)
    bar = described["bar"]
    assert (bar["labels"]["bytes"], bar["stored"]["bytes"]) == (on_disk, stored)
    assert bar["said"].startswith(f"{on_disk / stored:.1f} times as many bytes, of so few images; from ")
    from_ipc = int(bar["said"].split("from ")[1].split(" images")[0].replace(",", ""))
    counts = [sizes.stored_bytes(4, 4 * ipc, epochs=3, batch_size=4) for ipc in (from_ipc - 1, from_ipc)]
    assert counts[0] <= on_disk < counts[1]


def test_the_bar_says_how_many_times_smaller_labels_are(artefact: Path) -> None:
    facts = costs.info(artefact)
    rungs = [{"labels": "stored float16", "bytes": 1000 * facts["labels"]["bytes"], "smaller_from_ipc": 1}]
    assert shown.bar({**facts, "ladder": rungs})["said"] == "1000 times fewer bytes."
    rungs[0]["bytes"] = facts["labels"]["bytes"]
    assert shown.bar({**facts, "ladder": rungs})["said"] == "These are the stored labels."
    rungs[0]["bytes"] = round(2.5 * facts["labels"]["bytes"])
    assert shown.bar({**facts, "ladder": rungs})["said"] == "2.5 times fewer bytes."


@pytest.mark.parametrize("kind", ["stored", "pruned", "quantized", "hard"])
def test_labels_that_cannot_be_asked_are_left_out_and_it_is_said_why(kinds: dict[str, Path], kind: str) -> None:
    opened = shown.opened(kinds[kind])
    assert [each.name for each in opened.labellers] == ["class"]
    assert len(opened.notes) == 1 and ("no soft labels" if kind == "hard" else "cannot be asked") in opened.notes[0]
    described = opened.described()
    assert "Move the crop" not in described["lead"] and ("nothing else" in described["lead"]) == (kind == "hard")
    assert (described["bar"]["said"] == "These are the stored labels.") == (kind == "stored")
    beside = shown.opened(kinds[kind], [kinds["teacher"], kinds["projector"]])
    assert [each.name for each in beside.labellers] == ["teacher", "projector", "class"]
    with pytest.raises(InputError, match="soft labels" if kind == "hard" else "cannot be asked"):
        shown.opened(kinds["teacher"], [kinds[kind]])


def test_one_label_an_image_is_asked_for_its_own_images_alone(kinds: dict[str, Path]) -> None:
    opened = shown.opened(kinds["static"], [kinds["teacher"]])
    assert [each.about for each in opened.labellers[:2]] == [
        "one label an image, whatever the crop",
        "sees what the student sees",
    ]
    assert [each.name for each in shown.opened(kinds["teacher"], [kinds["teacher"]]).labellers] == [
        "teacher of teacher", "teacher of teacher", "class",
    ]  # fmt: skip
    with pytest.raises(InputError, match="those of other images"):
        shown.opened(kinds["projector"], [kinds["static"]])


def test_artefacts_that_do_not_belong_together_are_refused(
    kinds: dict[str, Path], artefact: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="without its image update; make it"):
        shown.opened(artefact, before=kinds["teacher"])
    kept = artifacts.load(kinds["teacher"])
    data = replace(kept.data, classes=("a", "b", "c", "d"))
    codec = Codec(**kept.manifest["images"]["codec"])
    other = artifacts.save(Distilled(data, kept.labels, {}), 2, kept.student, codec, {}, tmp_path / "other")
    with pytest.raises(InputError, match="other classes"):
        shown.opened(artefact, [other])


def test_a_projector_whose_encoder_is_not_here_leaves_the_classes(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = artifacts.load

    def without(folder: Path, labels: str = "kept") -> Any:
        if labels == "kept":
            raise MachineError("the encoder is nowhere")
        return load(folder, labels)

    monkeypatch.setattr(artifacts, "load", without)
    opened = shown.opened(artefact)
    assert [each.name for each in opened.labellers] == ["class"]
    assert opened.notes == ("Its soft labels cannot be asked on this machine: the encoder is nowhere.",)


def test_the_command_prints_the_address_and_opens_a_browser_unless_told(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("webbrowser.open", seen.append)
    monkeypatch.setattr(server, "serve", lambda app, listener: seen.append("served"))
    assert main(["view", str(artefact), "--no-browser"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("http://127.0.0.1:") and said.endswith("/ shows a; Ctrl-C stops it\n") and seen == ["served"]
    assert main(["view", str(artefact)]) == 0
    assert seen[1:] == [capsys.readouterr().out.split()[0], "served"]


def test_a_page_that_is_stopped_promises_nothing_to_go_on_with(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(app: object, listener: object) -> None:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(server, "serve", stopped)
    assert main(["view", str(artefact), "--no-browser"]) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "hello-distill: stopped"
    assert Stopped(signal.SIGTERM).sentence == SENTENCE  # of the commands after it


def test_a_port_that_is_taken_ends_with_3(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["view", str(artefact), "--port", str(taken.getsockname()[1])]) == 3
    assert "choose another --port" in capsys.readouterr().err


def test_without_its_extra_the_command_names_it(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "hello_distill.viewer.server")
    monkeypatch.delattr("hello_distill.viewer.server")
    assert main(["view", str(artefact)]) == 3
    assert "pip install 'hello-distill[view]'" in capsys.readouterr().err


def test_a_client_that_hangs_up_is_no_error_of_the_page() -> None:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    with pytest.raises(InputError, match="ended before its body did"):
        asyncio.run(server._body(Request({"type": "http", "method": "POST", "headers": []}, gone)))
