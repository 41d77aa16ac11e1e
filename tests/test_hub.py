"""Artefacts on the Hugging Face Hub: pushed, pulled, opened by name; what goes wrong is told, a token never."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
import yaml

import hello_distill as hd
import standin
from hello_distill.cli import main
from hello_distill.data import sources
from hello_distill.data.licence import Origin, source_of
from hello_distill.data.parquet import stored_images
from hello_distill.format.pulled import local, title
from hello_distill.hub import encoder_repository
from hello_distill.report import report
from hello_distill.system.hub import Repository, answered
from hello_distill.viewer import shown
from hello_distill.views import whole
from standin import LARGE, TOKEN, Hub

DATA, MODEL = "datasets/me/shapes", "models/me/shapes-projector"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A stand-in in the place of the Hub, a token for it, and a cache that is empty."""
    constants = huggingface_hub.constants
    with standin.serving() as serving:
        monkeypatch.setattr(constants, "ENDPOINT", serving.endpoint)
        template = f"{serving.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        hasty = SimpleNamespace(time=time.time, sleep=lambda _: None)
        monkeypatch.setattr("huggingface_hub.utils._http.time", hasty)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
        yield serving


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def newest(hub: Hub, key: str, branch: str = "main") -> dict[str, bytes]:
    """The files of a repository that came by a push."""
    found = hub.repositories[key].at(branch)
    assert found is not None
    return {name: data for name, data in found[1].items() if name != ".gitattributes"}


def front(card: bytes) -> dict[str, Any]:
    return yaml.safe_load(card.decode().split("---\n")[1])


def told(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """The one sentence with which a command ends, with that exit code; no token is in what it prints."""
    assert main([*map(str, arguments)]) == code
    shown = capsys.readouterr()
    for token in (TOKEN, standin.READ_ONLY, "signature"):
        assert token not in shown.out + shown.err
    lines = [line for line in shown.err.splitlines() if line.startswith("hello-distill: ")]
    assert len(lines) == (code != 0) and "Traceback" not in shown.err
    return (lines or [shown.out])[0]


def test_pushed_and_pulled_is_the_same_to_the_byte(hub: Hub, artefact: Path, tmp_path: Path) -> None:
    sent = hd.push(artefact, "me/shapes")
    assert [(each["kind"], each["repository"], each["private"]) for each in sent] == [
        ("data set", "me/shapes", True),
        ("model", "me/shapes-projector", True),
    ]
    assert newest(hub, DATA) == content(artefact)
    assert sent[0]["bytes"] == sum(map(len, content(artefact).values()))
    assert hd.pull("me/shapes", tmp_path / "back") == tmp_path / "back"
    assert content(tmp_path / "back") == content(artefact)
    assert hd.verify(tmp_path / "back")["not_checked"] == []


def test_commands_in_processes_of_their_own(hub: Hub, artefact: Path, tmp_path: Path) -> None:
    """As a user starts them: the variables of the Hub's client are all that differs."""
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | own
    shown = ""
    for arguments in (["push", artefact, "me/shapes"], ["pull", "me/shapes", tmp_path / "back"]):
        command = [sys.executable, "-m", "hello_distill", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        shown += done.stdout + done.stderr
    assert content(tmp_path / "back") == content(artefact)
    assert TOKEN not in shown and "signature" not in shown
    said = [line.split("  ")[0] for line in shown.splitlines() if line.startswith(("push ", "pull "))]
    assert said == ["push me/shapes", "push me/shapes-projector", "pull me/shapes"]
    read = (
        "from hello_distill.data import sources; s = sources.open_training('hf://me/shapes'); print(s.table, s.classes)"
    )
    done = subprocess.run([sys.executable, "-c", read], env=environment, capture_output=True, text=True)
    images = hd.load(artefact).data
    assert done.returncode == 0, done.stderr
    assert f"num_rows: {len(images)}" in done.stdout and str(images.classes) in done.stdout, "as DATA of a distillation"


def test_each_repository_is_private_and_gets_one_commit(hub: Hub, artefact: Path) -> None:
    hd.push(artefact, "me/shapes")
    created = [body for _, path, body in hub.asked if path == "/api/repos/create"]
    assert [body["visibility"] for body in created] == ["private", "private"]
    assert [len(each.commits) for each in hub.repositories.values()] == [2, 2]  # the first is the Hub's own
    hd.push(artefact, "me/open", public=True)
    assert not hub.repositories["datasets/me/open"].private


def test_the_model_names_data_set_and_encoder_and_holds_the_projector(hub: Hub, artefact: Path) -> None:
    hd.push(artefact, "me/shapes")
    files, manifest = newest(hub, MODEL), json.loads((artefact / "hello.json").read_text())
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors", "projector.json"]
    assert files["adapter_model.safetensors"] == (artefact / "projector/adapter_model.safetensors").read_bytes()
    facts = json.loads(files["projector.json"])
    assert (facts["classes"], facts["labels"]) == (manifest["classes"], manifest["labels"])
    head = front(files["README.md"])
    assert head["datasets"] == ["me/shapes"] and head["library_name"] == "peft" and "base_model" not in head
    card = files["README.md"].decode()
    assert f"[me/shapes]({hub.endpoint}/datasets/me/shapes)" in card
    assert manifest["labels"]["encoder"]["weights"][0]["sha256"] in card
    assert 'PeftModel.from_pretrained(Projector(), "me/shapes-projector")' in card and "PATH" not in card


def test_the_model_s_own_code_labels_without_this_package(
    hub: Hub, artefact: Path, clip_folder: Path, tmp_path: Path
) -> None:
    """Word for word but for the images, which `datasets` opens from disk: stock peft gets the adapter of the Hub."""
    hd.push(artefact, "me/shapes")
    code = newest(hub, MODEL)["README.md"].decode().split("```python\n")[1].split("```")[0]
    code = code.replace('"me/shapes"', f'"{artefact}"').replace("ENCODER", str(clip_folder))
    code += f"numpy.save('{tmp_path / 'logits.npy'}', logits)\n"
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | own
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened = hd.load(artefact)
    expected = opened.labels.projector(whole(opened.data.images)).numpy()
    assert np.abs(np.load(tmp_path / "logits.npy") - expected).max() <= 1e-5 * np.abs(expected).max()


def test_encoders_of_open_clip_have_a_repository() -> None:
    assert encoder_repository("RN50-quickgelu/openai") == "timm/resnet50_clip.openai"
    assert encoder_repository("lite") is None and encoder_repository("local-dir") is None


def test_a_dry_run_asks_nothing(hub: Hub, artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, 0, "push", artefact, "me/shapes", "--dry-run", "--json")
    named = json.loads(shown)["repositories"]
    assert named[0]["files"] == {name: len(data) for name, data in content(artefact).items()}
    assert [each["repository"] for each in named] == ["me/shapes", "me/shapes-projector"]
    table = told(capsys, 0, "push", artefact, "me/shapes", "--dry-run")
    assert f"data set me/shapes (private): {named[0]['bytes']:,} bytes would be sent; nothing was" in table
    assert hub.asked == []


def test_names_that_the_hub_gives_to_nobody_are_refused_by_a_dry_run(hub: Hub, artefact: Path) -> None:
    for name in ("me/a--b", "me/a.", "me/a.git", "me/" + 97 * "x", "me/" + 90 * "x"):  # the last with -projector
        with pytest.raises(hd.InputError, match=r"is no name on the Hub: "):
            hd.push(artefact, name, dry_run=True)
    assert not hub.asked


def test_other_labels_have_no_model(hub: Hub, kinds: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert [each["kind"] for each in hd.push(kinds["hard"], "me/hard")] == ["data set"]
    assert "has hard labels, and a model" in told(capsys, 2, "push", kinds["hard"], "me/x", "--model-repo", "me/y")
    assert [each["repository"] for each in hd.push(kinds["projector"], "me/a", model="me/b")] == ["me/a", "me/b"]
    assert [each["kind"] for each in hd.push(kinds["projector"], "me/c", model=False)] == ["data set"]
    assert "exclude each other" in told(capsys, 2, "push", kinds["hard"], "me/x", "--model-repo", "a/b", "--no-model")


def test_a_push_that_is_cut_off_goes_on_where_it_was(
    hub: Hub, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.uploads_left = 1
    assert "does not answer when asked for hf://me/shapes" in told(capsys, 3, "push", artefact, "me/shapes")
    assert newest(hub, DATA) == {} and len(hub.repositories[DATA].lfs) == 1
    hub.uploads_left = None
    before = len(hub.asked)
    told(capsys, 0, "push", artefact, "me/shapes")
    sent = [path.split("/lfs/")[1].rpartition("/")[0] for method, path, _ in hub.asked[before:] if method == "PUT"]
    assert sorted(sent) == [DATA, MODEL]  # of each the one that was missing
    assert newest(hub, DATA) == content(artefact)


def test_a_pull_that_is_cut_off_goes_on_where_it_was(
    hub: Hub, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hd.push(artefact, "me/shapes", model=False)
    hub.downloads_left = 1
    assert "does not answer" in told(capsys, 3, "pull", "me/shapes", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    hub.downloads_left, hub.down, before = None, False, len(hub.asked)
    told(capsys, 0, "pull", "me/shapes", tmp_path / "back")
    again = [path.rpartition("/")[2] for method, path, _ in hub.asked[before:] if method == "GET"]
    large = [name for name in again if name.endswith(LARGE)]
    assert large == ["adapter_model.safetensors"], "the one that was cut"
    assert content(tmp_path / "back") == content(artefact)
    assert not [*tmp_path.glob(".back*")]


def test_what_is_there_is_not_sent_again(hub: Hub, artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, 0, "push", artefact, "me/shapes")
    commits, before = [hub.repositories[key].branches["main"] for key in (DATA, MODEL)], len(hub.asked)
    bytes_there = sum(map(len, content(artefact).values()))
    assert f"data set me/shapes (private): {bytes_there:,} bytes sent to {hub.endpoint}/datasets/me/shapes" in first
    again = hd.push(artefact, "me/shapes")
    assert [(each["commit"], each["new"]) for each in again] == [(commit, False) for commit in commits]
    assert not [path for method, path, _ in hub.asked[before:] if method == "PUT" or "/commit/" in path]
    assert main(["push", str(artefact), "me/shapes"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("already; nothing new was sent") == 2 and "bytes sent" not in shown.out
    assert shown.err.count("nothing new, commit") == 2


def test_a_new_artefact_takes_the_place_of_an_old_one(hub: Hub, kinds: dict[str, Path], tmp_path: Path) -> None:
    """What the old one listed goes; what its owner put beside it stays, and is not pulled."""
    hd.push(kinds["projector"], "me/shapes")
    hub.repositories[DATA].commit("main", {**newest(hub, DATA), "LICENSE": b"mine"})
    hd.push(kinds["static"], "me/shapes")
    assert newest(hub, DATA) == {**content(kinds["static"]), "LICENSE": b"mine"}
    hd.pull("hf://me/shapes", tmp_path / "back")
    assert content(tmp_path / "back") == content(kinds["static"])


def test_a_branch_of_its_own(hub: Hub, kinds: dict[str, Path], tmp_path: Path) -> None:
    hd.push(kinds["projector"], "me/shapes")
    hd.push(kinds["hard"], "me/shapes", revision="hard")
    assert newest(hub, DATA, "hard") == content(kinds["hard"])
    assert newest(hub, DATA) == content(kinds["projector"])
    hd.pull("me/shapes@hard", tmp_path / "back")
    assert content(tmp_path / "back") == content(kinds["hard"])


@pytest.mark.parametrize("name", ["data/train-00000-of-00001.parquet", "README.md", "hello.json", "SHA256SUMS"])
def test_what_was_tampered_with_is_refused_and_nothing_is_left(
    name: str, hub: Hub, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hd.push(artefact, "me/shapes")
    files = newest(hub, DATA)
    forged = bytearray(files[name])
    forged[len(forged) // 2] ^= 1
    for changed in (bytes(forged), files[name] + b"\n", None):
        left = {each: data for each, data in {**files, name: changed}.items() if data is not None}
        hub.repositories[DATA].commit("main", left)
        sentence = told(
            capsys, 2 if (name, changed) == ("hello.json", None) else 4, "pull", "me/shapes", tmp_path / "x"
        )
        assert "me/shapes" in sentence and str(tmp_path) not in sentence
        assert [each.name for each in tmp_path.iterdir() if each.name != "cache"] == []
        with pytest.raises((hd.ArtifactError, hd.InputError)):
            hd.load("hf://me/shapes")


def test_artefacts_open_by_name_and_students_train_on_them(
    hub: Hub, artefact: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hd.push(artefact, "me/shapes")
    opened = hd.load("hf://me/shapes")
    assert (opened.data.images == hd.load(artefact).data.images).all()
    assert hd.info("hf://me/shapes") == hd.info(artefact)
    expected = hd.train(artefact, str(tree), seeds=[0])
    before = len(hub.asked)
    shown = json.loads(told(capsys, 0, "train", "hf://me/shapes@main", "--data", tree, "--seeds", 0, "--json"))
    assert shown["top1_last"] == expected["top1_last"]
    assert not [path for _, path, _ in hub.asked[before:] if "/resolve/" in path]  # it is in the cache
    told(capsys, 0, "verify", "hf://me/shapes")
    told(capsys, 0, "export", "hf://me/shapes", "--out", tmp_path / "images")
    told(capsys, 0, "labels", "hf://me/shapes", "--kind", "hard", "--out", tmp_path / "hard")


def test_pages_show_artefacts_by_name(
    hub: Hub, artefact: Path, kinds: dict[str, Path], before: Path, tmp_path: Path
) -> None:
    """`view` and `report` call them as their repositories are called, and not by the commit."""
    for folder, name in ((artefact, "shapes"), (artefact, "again"), (kinds["teacher"], "taught"), (before, "still")):
        hd.push(folder, f"me/{name}")
    page = shown.opened("hf://me/shapes", ["hf://me/again", "hf://me/taught"], "hf://me/still")
    assert page.name == "me/shapes"
    asked = ["projector of me/shapes", "projector of me/again", "teacher", "class"]
    assert [each.name for each in page.labellers] == asked
    with pytest.raises(hd.InputError, match="--with hf://me/still keeps no soft labels"):
        shown.opened("hf://me/shapes", ["hf://me/still"])
    for which, folder in (("after", artefact), ("before", before)):
        assert list(page.files[which]) == [content for _, content in stored_images(folder)]
    (tmp_path / "results").mkdir()
    text = report(tmp_path / "results", tmp_path / "page.html", ["hf://me/shapes"], ["hf://me/still"]).read_text()
    assert "Artefact me/shapes" in text and "--artefact hf://me/shapes --before hf://me/still" in text


def test_a_folder_has_its_own_name_also_where_there_is_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise hd.MachineError("this user has no home folder to cache in")

    monkeypatch.setattr("hello_distill.format.pulled.cache_folder", homeless)
    assert title(tmp_path / "a") == "a"


def test_a_cached_artefact_opens_without_the_hub(hub: Hub, artefact: Path) -> None:
    hd.push(artefact, "me/shapes")
    folder = local("hf://me/shapes")
    hub.down = True
    assert local("hf://me/shapes") == folder and content(folder) == content(artefact)
    asked = len(hub.asked)
    assert local(f"hf://me/shapes@{folder.name}") == folder and len(hub.asked) == asked
    with pytest.raises(hd.MachineError, match="does not answer when asked for hf://me/shapes@other"):
        local("hf://me/shapes@other")


def test_what_may_go_wrong_is_told(
    hub: Hub, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push, out = ("push", artefact), tmp_path / "back"
    assert "there is no data set me/none on the Hub" in told(capsys, 2, "pull", "me/none", out)
    assert "names no repository" in told(capsys, 2, *push, "shapes")
    assert "name two revisions" in told(capsys, 2, "pull", "me/shapes@a", out, "--revision", "b")
    hub.create("datasets/me/photos", True, **{"photo.jpg": b"", "README.md": b""})
    assert "but README.md, photo.jpg; name another" in told(capsys, 2, *push, "me/photos")
    assert "holds no artefact: it has no hello.json" in told(capsys, 2, "pull", "me/photos", out)
    hub.create("datasets/me/other", True, **{"hello.json": b"[]"})
    assert "holds no artefact of hello-distill, but hello.json" in told(capsys, 2, *push, "me/other")
    hub.create("models/me/new-projector", True, **{"model.bin": b""})
    assert "the model me/new-projector exists and holds" in told(capsys, 2, *push, "me/new")
    assert "datasets/me/new" not in hub.repositories  # all are looked at before any is written
    hub.create("datasets/me/seen", False)
    assert "me/seen is public already, and a private one was" in told(capsys, 2, *push, "me/seen", "--no-model")
    hd.push(artefact, "me/shapes")
    assert "me/shapes is private already, and --public was" in told(capsys, 2, *push, "me/shapes", "--public")
    assert "hf://me/shapes has no revision v9" in told(capsys, 2, "pull", "me/shapes", out, "--revision", "v9")
    (tmp_path / "there").mkdir()
    there = told(capsys, 2, "pull", "me/shapes", tmp_path / "there")
    assert there.endswith("there exists already; name another output, or remove it")
    hub.repositories[DATA].gated = True
    assert "is gated: ask for access on" in told(capsys, 2, "pull", "me/shapes", out)
    hub.repositories[DATA].gated = False
    hub.down = True
    assert "does not answer when asked for hf://me/shapes (status 503)" in told(capsys, 3, "pull", "me/shapes", out)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "(ConnectError); check the network" in told(capsys, 3, "pull", "me/shapes", out)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "is not asked while HF_HUB_OFFLINE is set" in told(capsys, 3, "pull", "me/shapes", out)
    assert not out.exists()


def test_a_commit_that_is_none_names_no_folder(hub: Hub, artefact: Path, tmp_path: Path) -> None:
    hd.push(artefact, "me/shapes")
    found = hub.repositories[DATA]
    found.commits["../../outside"] = found.commits[found.branches["main"]]
    found.branches["main"] = "../../outside"
    with pytest.raises(hd.ArtifactError, match=r"hf://me/shapes is at '../../outside', which is no commit"):
        local("hf://me/shapes")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("Data processing error: CAS service"), hd.MachineError),  # what hf_xet raises
        (huggingface_hub.errors.XetDownloadError("cut"), hd.MachineError),
        (json.JSONDecodeError("no JSON", "<html>", 0), hd.MachineError),
        (ValueError(f"no such name {TOKEN} at https://hub/x?signature=hidden"), hd.InputError),
        (OSError(28, "No space left on device"), OSError),
        (hd.InputError("ours"), hd.InputError),
        (TypeError("a defect"), TypeError),
    ],
)
def test_errors_of_the_client(hub: Hub, raised: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as told, answered(Repository("me/shapes"), "dataset"):
        raise raised
    assert type(told.value) is expected and TOKEN not in str(told.value) and "signature" not in str(told.value)


def test_tokens_that_do_not_do(
    hub: Hub, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hd.push(artefact, "me/shapes")
    monkeypatch.setenv("HF_TOKEN", standin.READ_ONLY)
    assert "this token may not do that to hf://me/new" in told(capsys, 2, "push", artefact, "me/new")
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "the Hub does not know the token that hf://me/new" in told(capsys, 3, "push", artefact, "me/new")
    assert "or it is private and this token may not see it" in told(capsys, 2, "pull", "me/shapes", tmp_path / "x")
    monkeypatch.delenv("HF_TOKEN")
    asked = len(hub.asked)
    assert "cannot be written without a token" in told(capsys, 3, "push", artefact, "me/new")
    assert len(hub.asked) == asked


def test_a_card_that_the_hub_refuses_is_told(
    hub: Hub, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from conftest import seal

    folder = shutil.copytree(artefact, tmp_path / "a")
    (folder / "README.md").write_text(
        (folder / "README.md").read_text().replace("---\n", "---\nlicense: forbidden\n", 1)
    )
    seal(folder)
    assert "does not take hf://me/shapes: Invalid metadata in README.md. - no such license" in told(
        capsys, 2, "push", folder, "me/shapes"
    )


def test_data_behind_hf_is_the_same_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """`distill hf://owner/name` reads what `distill owner/name` reads."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(path: str, config: str | None, revision: str | None) -> None:
        asked.append((path, config, revision))
        raise ConnectionError

    monkeypatch.setattr(sources, "rest_offline_if_unreachable", lambda: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for source in ("me/data", "hf://me/data", "hf://me/data@v1", "hf://me/data@v1:small", "me/data:small"):
        with pytest.raises(hd.MachineError, match="the Hub could not be reached"):
            sources.open_training(source)
    assert asked == [
        ("me/data", None, None),
        ("me/data", None, None),
        ("me/data", None, "v1"),
        ("me/data", "small", "v1"),
        ("me/data", "small", None),
    ]
    with pytest.raises(hd.InputError, match="'hf://data' names no repository"):
        sources.open_training("hf://data")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", load_dataset_card)
    assert source_of("hf://me/data@v1:small") == Origin("me/data")


def load_dataset_card(name: str, file: str, repo_type: str, revision: str | None) -> str:
    assert (name, file, repo_type, revision) == ("me/data", "README.md", "dataset", "v1")
    raise OSError


def test_names_of_repositories() -> None:
    assert Repository.of("hf://me/data@refs/pr/1") == Repository("me/data", "refs/pr/1")
    assert str(Repository.of("me/data", "v1")) == "hf://me/data@v1"
    for text in ("../data", "me/../data", "me", "hf://", "me/data@", "a b/c", "me/data@../x"):
        with pytest.raises(hd.InputError, match="names no repository on the Hub"):
            Repository.of(text)
