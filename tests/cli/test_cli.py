"""The command as a user meets it: help, exit codes, one sentence per mistake, JSON for machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from conftest import write_tree
from hello_distill import api as pipeline
from hello_distill import cli, teachers
from hello_distill import student as evaluate
from hello_distill.cli import options
from hello_distill.cli.experiments import fill
from hello_distill.cli.options import READING, reading
from hello_distill.format.storage import read_manifest
from hello_distill.recipes import COMPARISONS, CONTINUALS, RECIPES, find, fitting, suited
from hello_distill.recipes.studies import STUDIES


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hello_distill", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


HEAVY = {"torch", "datasets", "open_clip", "peft", "timm", "PIL", "numpy", "huggingface_hub", "rich"}


def seconds(script: str, *arguments: str) -> float:
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start


def test_what_is_not_there_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    """Data that can be nothing else, and a --config; the rest is left to those who read it."""
    script = (
        "import sys\n"
        "from hello_distill.cli import main\n"
        "from hello_distill.data.references import check_there\n"
        "none, here, *taken = sys.argv[1:]\n"
        "assert main(['distill', none, '--out', 'out']) == main(['train', 'a', '--data', none]) == 2\n"
        "assert main(['distill', here, '--config', none, '--out', 'out']) == 2\n"
        "for words in (['plan', none, '--ipc', '1'], *([name, none] for name in ('compare', 'study', 'continual'))):\n"
        "    recipe = ['--recipe', 'ranks'] if words[0] == 'study' else []\n"
        "    assert main([*words, *recipe, '--out', 'out']) == 2\n"
        "for odd in ('', 300 * 'x'): assert main(['distill', odd, '--out', 'out']) == 2\n"
        "for source in taken: check_there(source)\n"
        f"assert not {HEAVY - {'rich'}} & set(sys.modules), {HEAVY} & set(sys.modules)"
    )
    here, none = tmp_path / "here", tmp_path / "none"
    here.mkdir()
    taken = [here, f"{here}:default", f"{here}:classes={none}", "fashion-mnist", "me/photos:small", "hf://me/photos@v1"]
    command = [sys.executable, "-c", script, *map(str, (none, here, *taken))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    starts = [line.removeprefix("hello-distill: ").split(":")[0] for line in done.stderr.splitlines()]
    missing = f"config {none} does not exist; name a JSON or YAML file with fields of a recipe"
    nothing = f"no data at {none}"
    odd = ["DATA is empty; give a folder, a file or a Hub id (owner/name)", f"no data at {60 * 'x'}..."]
    assert starts == [nothing, nothing, missing, nothing, nothing, nothing, nothing, *odd]
    assert list(tmp_path.iterdir()) == [here]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_default_is_said_once(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not again as null where the text has it in words, and not where it is nothing."""
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = re.split(r"\n  (?=-)", capsys.readouterr().out)
    assert len(said) > 1 and all(entry.count("default:") <= 1 for entry in said)
    assert not any(re.search(r"default:\s+(null|False|\[\])|\(\)", entry) for entry in said)


def test_help_of_every_command_imports_little_and_is_quick() -> None:
    """Within 0.5 s where `import jsonargparse` takes 0.1 s; said as a ratio, for machines that are slow or busy."""
    script = (
        "import contextlib, io, sys\n"
        "from hello_distill.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as noted:\n"
        "    try: main([*sys.argv[1:], '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert ' '.join(['usage: hello-distill', *(['[options]', sys.argv[1]] if sys.argv[1:] else '')]) "
        "in said.getvalue()\n"
        "assert not noted.getvalue()\n"
        f"assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)"
    )
    bare = statistics.median(seconds("import jsonargparse") for _ in range(5))
    helps = [seconds(script, *arguments) for arguments in ([], *([name] for name in cli.COMMANDS))]
    assert statistics.median(helps) < 5 * bare


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"hello-distill {metadata.version('hello-distill')}\n"


def test_from_folder_to_students(tree: Path, recipe, clip_folder: Path, tmp_path: Path) -> None:
    """The three commands, as the README shows them, with plain lines because nobody watches."""

    config = tmp_path / "tiny.json"
    config.write_text(json.dumps({**recipe.settings(), "ipc": 1}))
    made = run("distill", tree, "--ipc", 2, "--config", config, "--out", tmp_path / "a", "--seed", 3)
    assert made.returncode == 0, made.stderr
    lines = made.stderr.splitlines()
    stages = [
        "data",
        "teachers",
        "patches",
        "zero-shot test",
        "projector",
        "projector test",
        "image update",
        "query fitting",
        "faithfulness",
    ]
    assert [line[:24].strip() for line in lines] == stages
    assert all(" s   " in line for line in lines)
    for stage, figure in (("teachers", "top-1"), ("zero-shot test", "top-1"), ("projector test", "top-1")):
        assert figure in lines[stages.index(stage)]
    update, queries, faithfulness = lines[-3:]
    assert "information loss" in update and "before" in update and "after" in update
    assert "2 steps, relative error on unseen views after each round: " in queries
    assert "agrees with the teacher on" in faithfulness and "of unseen views" in faithfulness
    kept = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (kept["ipc"], kept["seed"]) == (2, 3)
    assert kept["distiller"]["projector"]["encoder"] == "local-dir"  # whose folder is nobody else's business

    found = json.loads(run("info", tmp_path / "a", "--json").stdout)
    assert (found["classes"], found["ipc"], found["images"]["count"]) == (4, 2, 8)
    assert found["labels"]["kind"] == "projector" and found["labels"]["parameters"] > 0
    assert {"bytes"} <= found["images"].keys() and {"bytes"} <= found["labels"].keys()
    assert {"bytes", "formula"} == found["stored_labels"].keys()
    assert all({"name", "bytes"} == weights.keys() for weights in found["public_weights"])
    assert "soft labels without views" in run("info", tmp_path / "a").stdout

    for labels in ("projector", "hard"):
        done = run("train", tmp_path / "a", "--data", tree, "--labels", labels, "--seeds", 0, 1, "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["student"], result["labels"], result["seeds"]) == ("convnet2_w8", labels, [0, 1])
        for key in ("top1_last", "top1_best"):
            summary = result[key]
            assert len(summary["runs"]) == 2 and all(0 <= value <= 100 for value in summary["runs"])
            assert summary["mean"] == pytest.approx(sum(summary["runs"]) / 2)
            assert summary["sd"] == pytest.approx(abs(summary["runs"][0] - summary["runs"][1]) / 2**0.5)
        assert all(a <= b for a, b in zip(result["top1_last"]["runs"], result["top1_best"]["runs"], strict=True))
    shown = run("train", tmp_path / "a", "--data", tree, "--student", "convnet1_w4", "--seeds", 0).stdout
    assert re.search(r"convnet1_w4\W+projector\W+\d+\W+[\d.]+\W+[\d.]+\W+1\b", shown), shown


# Mistakes.


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mistake may be found only after training has begun."""

    def fit(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    for module in (teachers, evaluate):
        monkeypatch.setattr(module, "fit", fit)


def refused(capsys: pytest.CaptureFixture[str], told: str, *arguments: object, code: int = 2) -> None:
    assert cli.main([str(a) for a in arguments]) == code
    said = capsys.readouterr()
    sentence = [line for line in said.err.splitlines() if line.startswith("hello-distill: ")]
    assert len(sentence) == 1 and said.err.splitlines()[-1] == sentence[0]
    assert told in sentence[0], sentence[0]
    assert not said.out


def test_mistakes_in_a_distillation(
    forbidden: None, capsys: pytest.CaptureFixture[str], tree: Path, recipe, clip_folder: Path, tmp_path: Path
) -> None:

    config, out = tmp_path / "tiny.json", tmp_path / "out"
    config.write_text(json.dumps(recipe.settings()))
    common = ["--config", config, "--out", out]

    def bad(told: str, data: object = tree, *more: object, code: int = 2) -> None:
        refused(capsys, told, "distill", data, *common, *more, code=code)
        assert not out.exists() and not list(tmp_path.glob(".out*"))

    bad("fewer than 13 training images in circle (12), cross (12)", tree, "--ipc", 13)
    bad("lower --ipc to 11, for which they suffice after holding some out, add images, or choose", tree, "--ipc", 13)
    bad("no data at", tmp_path / "nowhere")
    bad("unknown encoder 'ligt': did you mean 'lite'", tree, "--encoder", "ligt")
    bad("unknown recipe 'papre': did you mean 'paper'", tree, "--recipe", "papre")
    bad(f"unknown recipe 'tiny': known names: {', '.join(sorted(RECIPES))}", tree, "--recipe", "tiny")
    copy = shutil.copytree(tree, tmp_path / "stray")
    (copy / "train" / "circle" / "notes").write_bytes(b"nothing")
    bad(f"1 of 49 images cannot be read: {copy}/train/circle/notes (text); mend or remove them", copy)
    copy = shutil.copytree(tree, tmp_path / "empty")
    shutil.rmtree(copy / "train" / "cross")
    (copy / "train" / "cross").mkdir()
    bad("no images of cross; add some or remove the class", copy)


@pytest.mark.parametrize(
    ("recipe_name", "device", "changes", "told"),
    [
        ("paper", "cpu", {}, True),
        ("imagenet100", "cpu", {"ipc": 1}, True),
        ("imagenet1k", "cpu", {"student": {"network": "resnet50"}}, True),
        ("paper", "cuda", {}, False),
        ("paper", "cpu", {"teachers": {"weak_epochs": [1], "optim": {"epochs": 1}}}, False),
        ("paper", "cpu", {"max_side": 32}, False),
        ("cpu", "cpu", {}, False),
        ("rded-small", "cpu", {}, False),
    ],
)
def test_a_recipe_for_a_gpu_is_told_of_first_where_there_is_none(
    recipe_name: str,
    device: str,
    changes: dict[str, object],
    told: bool,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELLO_DISTILL_DEVICE", device)
    (tmp_path / "c.json").write_text(json.dumps(changes))
    given = ["--recipe", recipe_name, "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "a")]
    monkeypatch.setattr(pipeline, "check", lambda recipe: None)
    (tmp_path / "empty").mkdir()
    assert cli.main(["distill", str(tmp_path / "empty"), *given]) == 2
    note = (
        f"note: the recipe {recipe_name} is made for a GPU; on this machine's processor ten thousand photographs take "
        "it a day or more, and --recipe cpu minutes"
    )
    *before, last = capsys.readouterr().err.splitlines()
    assert before == ([note] if told else []) and last.startswith(f"hello-distill: {tmp_path / 'empty'} ")


def test_an_output_folder_that_exists_is_left_as_it_is(
    forbidden: None, capsys: pytest.CaptureFixture[str], tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    refused(capsys, "exists already; name another output, or remove it", "distill", tree, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "keep"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("ipc: ten", "config: ipc must be a whole number, not 'ten'"),
        ("icp: 10", "config: unknown key 'icp': did you mean 'ipc'?"),
        ("seed: -1", "--seed is -1; seeds are 0 or more"),
        ("distiller: {projector: {encodr: lite}}", "did you mean 'distiller.projector.encoder'?"),
        ("encoder: lite", "unknown key 'encoder': did you mean 'distiller.projector.encoder'?"),
        ("distiller: {update: {steps: many}}", "distiller.update.steps must be a whole number, not 'many'"),
        ("train_limit: all", "train_limit must be a whole number or nothing (null), not 'all'"),
        ("student: 3", "student must be fields such as network, not 3"),
        ("student: {loss: kll}", "student.loss must be one of mse, kl, standardised, dist, not 'kll'"),
        ("student: {augment: {scale: [1]}}", "student.augment.scale must be a list of 2, each a number, not [1]"),
        ("1: 2", "must hold fields of a recipe"),
        ("ipc: 0", "--ipc is 0; a class needs at least one image"),
        ("method: [rded]", "unknown method"),
        ("!!python/object/apply:os.getcwd []", "cannot be read"),
        ("[" * 10_000, "cannot be read"),
        ("ipc: 2024-99-99", "cannot be read"),
        ("teachers: {weak_epochs: [999]}", "teachers.weak_epochs (999,) must be epochs between 1 and 5"),
        ("student: {network: resnet81}", "unknown network 'resnet81': did you mean 'resnet18'"),
        ("teachers: {network: resnet81}", "unknown network 'resnet81'"),
        ("[1, 2]", "must hold fields of a recipe"),
        ("a: [", "cannot be read"),
    ],
)
def test_mistakes_in_a_config(
    forbidden: None, capsys: pytest.CaptureFixture[str], tree: Path, tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    out = tmp_path / "out"
    refused(capsys, told, "distill", tree, "--config", tmp_path / "c.yaml", "--encoder", "lite", "--out", out)
    none = tmp_path / "none.yaml"
    refused(capsys, f"config {none} does not exist; name a", "distill", tree, "--config", none, "--out", out)


def test_mistakes_in_a_training(
    forbidden: None, capsys: pytest.CaptureFixture[str], artefact: Path, tree: Path, tmp_path: Path
) -> None:
    refused(capsys, "unknown network 'resnet81'", "train", artefact, "--data", tree, "--student", "resnet81")
    refused(capsys, "is no artefact", "train", tmp_path, "--data", tree)
    refused(capsys, "no data at", "train", artefact, "--data", tmp_path / "nowhere")
    other = write_tree(tmp_path / "other", train=1, test=1)
    for split in ("train", "test"):
        (other / split / "circle").rename(other / split / "zigzag")
    refused(capsys, "give the data that it was distilled from", "train", artefact, "--data", other)
    small = ["--student", "convnet6"]
    refused(capsys, "needs images of at least 64 pixels, these have 32", "train", artefact, "--data", tree, *small)


def test_figures_that_look_alike_are_told_apart(
    capsys: pytest.CaptureFixture[str], artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of labels: on held-out images and on views of the distilled; on the views of one draw and of another."""
    figures = read_manifest(artefact)["figures"]
    monkeypatch.setenv("COLUMNS", "160")
    assert cli.main(["info", str(artefact)]) == 0
    cells = (line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.count("│") == 3)
    said = [(name.strip(), value.strip()) for name, value in cells]
    rows = dict(said)
    made_for = "% of held-out images; they are made for views of the distilled ones"
    assert rows["labels as shipped"] == f"{figures['labels_on_held_out']:.1f} {made_for}"
    new_views = f"on {figures['view_agreement']:.1f} % of new views of the distilled images"
    assert rows["labels agree with teacher"] == new_views
    forms = ("forms to choose from", "on another draw of new views; agreement is known to about 2 points")
    assert [name.startswith("ranks ") for name, _ in said[said.index(forms) + 1 :]] == [True] * len(figures["fidelity"])


def test_a_broken_artefact_ends_with_4(capsys: pytest.CaptureFixture[str], artefact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(artefact, tmp_path / "copy")
    (copy / "hello.json").write_text("{}")
    refused(capsys, "has format None, this version reads 2", "info", copy, code=4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "no command given; there are distill, train, "),
        ("distil", "unknown command 'distil': did you mean 'distill'?"),
        ("--verson", "unknown option --verson: did you mean '--version'?"),
        ("distill", "`hello-distill distill` needs DATA and --out"),
        ("info", "`hello-distill info` needs ARTEFACT"),
        ("distill x --out", "--out needs a value"),
        ("distill x --out y --ipcs 3", "unknown option --ipcs: did you mean '--ipc'?"),
        ("distill x --out=y --ipcs=3", "unknown option --ipcs: did you mean '--ipc'?"),
        ("distill x --out y --report z", "unknown option --report: "),
        ("distill x --out y --ip 3", "unknown option --ip: did you mean '--ipc'?"),
        ("distill x y --out z", "'y' is one argument too many; see `hello-distill distill --help`"),
        ("distill x --out y --ipc ten", "--ipc must be a whole number, 1 or more, not 'ten'"),
        ("distill x --out y --ipc 0", "--ipc must be a whole number, 1 or more, not '0'"),
        ("distill x --out y --seed -1", "--seed must be a whole number, 0 or more, not '-1'"),
        ("train a --data b --seeds 0 x", "--seeds must be a whole number, 0 or more, not 'x'"),
        ("compare d --out x --ipc 0", "--ipc must be a whole number, 1 or more, not '0'"),
        ("view a --port 80000", "--port must be a port, 0 to 65535, not '80000'"),
        ("labels a --kind pruned --out y --keep all", "--keep must be a number, not 'all'"),
        ("labels a --kind pruned --out y --replacement maybe", "--replacement must be true or false, not 'maybe'"),
        ("info a --json=1", "--json takes no value"),
        ("export a --out y --to png", "--to must be imagefolder or webdataset or onnx, not 'png'"),
        ("distill x --out y --square round", "--square must be crop or pad or squash, not 'round'"),
    ],
)
def test_wrong_options_are_told_in_one_sentence(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments.split())
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"hello-distill: {told}") and said.err.count("\n") == 1 and not said.out


def test_a_result_names_the_options_by_which_its_data_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = []
    (tmp_path / "r.json").touch()
    monkeypatch.setattr("hello_distill.experiments.ledger.sign", lambda file, command: signed.append(command))
    monkeypatch.setattr("hello_distill.cli.experiments.show", lambda *_: None)
    for more in ([], ["--follow-links", "--label-column", "kind", "--class-names", str(tmp_path / "names.txt")]):
        given = ["compare", str(tmp_path / "photos"), "--out", str(tmp_path / "r.json"), "--ipc", "1", *more]
        options = cli.parsed(given)["compare"]
        context = reading(options)
        assert context.pop("log").folder is None
        assert context == {
            "max_bad": 0.01,
            "resume_changed": False,
            **dict.fromkeys(READING),
            "follow_links": bool(more),
            **({"label_column": "kind", "class_names": str(tmp_path / "names.txt")} if more else {}),
        }
        fill("compare", options, lambda *_, **__: {}, None)
    plain, full = signed
    assert "photos" in plain and str(tmp_path) not in plain + full and "--follow-links" not in plain
    assert "--label-column kind --class-names names.txt --follow-links" in full


@pytest.mark.parametrize("words", [["--recipe"], ["distill", "photos", "--recipe"], ["recipes", "--fitting"]])
def test_recipes_that_fit_the_machine_are_listed(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, missing in (("cpu", {"paper", "imagenet100", "imagenet1k"}), ("cuda", set())):
        monkeypatch.setenv("HELLO_DISTILL_DEVICE", device)
        assert cli.main(words) == 0
        head, *lines = capsys.readouterr().out.splitlines()
        assert head == "distill --recipe" and {line.split()[0] for line in lines} == set(RECIPES) - missing


@pytest.mark.parametrize(
    ("device", "side", "classes", "name"),
    [
        ("cpu", 28, 10, "demo"),
        ("cpu", 32, 10, "hello-small"),
        ("cuda", 32, 200, "hello-many"),
        ("cpu", 96, 10, "cpu"),
        ("cuda", 224, 1000, "paper"),
    ],
)
def test_a_recipe_is_chosen_by_device_and_images(device: str, side: int, classes: int, name: str) -> None:
    assert suited(device, side, classes) == name
    assert name in fitting(device)


def test_the_recipe_that_is_chosen_is_said(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    monkeypatch.setenv("HELLO_DISTILL_DEVICE", "cpu")
    monkeypatch.setattr(pipeline, "distill", lambda data, out, recipe, **_: made.append(recipe) or Path(out))
    assert cli.main(["distill", str(tree), "--out", str(tmp_path / "a"), "--ipc", "3"]) == 0
    assert made == [find("hello-small", 3)]
    said = "recipe: hello-small, for images of 32 pixels and 4 classes on this processor; --recipe NAME chooses another"
    assert said in capsys.readouterr().err


def test_recipes_are_listed_and_what_is_shown_of_one_repeats_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == [*RECIPES, *COMPARISONS, *CONTINUALS, *STUDIES]
    assert cli.main(["recipes", "show", "gvbsm-small"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert find("paper").with_changes(options.read_config(str(tmp_path / "c.yaml"))) == find("gvbsm-small")
    refused(capsys, "unknown recipe 'cpuu': did you mean 'cpu'", "recipes", "show", "cpuu")
    refused(capsys, "takes nothing, or `show` and the name of a recipe", "recipes", "sho")


def test_an_interrupt_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tree: Path, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(teachers, "fit", interrupted)
    (tmp_path / "c.json").write_text(json.dumps(recipe.settings()))
    arguments = ["distill", str(tree), "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 130
    assert "nothing is left half-written" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


def spoilt(tree: Path, folder: Path) -> Path:
    """The tree with a test image that cannot be read, 1 of 25."""
    copy = shutil.copytree(tree, folder)
    (copy / "test" / "circle" / "zz.png").write_bytes(b"")
    return copy


def test_bad_test_images_pass_where_they_are_let(
    capsys: pytest.CaptureFixture[str], artefact: Path, tree: Path, tmp_path: Path
) -> None:
    """`evaluate`, `evaluate --record` and `verify --data` as `train`: with one bad image of 25."""
    data = ["--data", spoilt(tree, tmp_path / "data")]
    commands = (
        (["evaluate", artefact, *data, "--record", tmp_path / "b"], "expected"),
        (["evaluate", tmp_path / "b", *data], "inside"),
        (["verify", tmp_path / "b", *data], "checks"),
    )
    for command, answer in commands:
        refused(capsys, "split test: 1 of 25 images cannot be read", *command)
        refused(capsys, "--max-bad 2 is no share", *command, "--max-bad", "2")
        assert cli.main([*map(str, command), "--max-bad", "0.04", "--json"]) == 0
        assert answer in json.loads(capsys.readouterr().out)


def test_what_is_recorded_is_told_to_machines_and_to_people(
    capsys: pytest.CaptureFixture[str], artefact: Path, tree: Path, tmp_path: Path
) -> None:
    command = ["evaluate", str(artefact), "--data", str(tree), "--record"]
    assert cli.main([*command, str(tmp_path / "a"), "--json"]) == 0
    stated = read_manifest(tmp_path / "a")["expected"]
    assert json.loads(capsys.readouterr().out) == {"artefact": str(tmp_path / "a"), "expected": stated}
    assert cli.main([*command, str(tmp_path / "b")]) == 0
    again = f"hello-distill evaluate {tmp_path / 'b'} --data {tree}"
    assert capsys.readouterr().out == f"{tmp_path / 'b'} is ready; `{again}` checks what it states\n"


def test_the_version_that_made_an_artefact_is_in_it(artefact: Path) -> None:
    found = read_manifest(artefact)["versions"]
    assert {"hello_distill", "python", "torch", "peft", "open_clip_torch", "threads"} <= found.keys()
