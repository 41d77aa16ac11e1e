"""Several processes that train together do what one does; what they write, and how they end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.distributed import run as distributed_run

from conftest import SIDE, drawn
from hello_distill import artifact as artifacts
from hello_distill import cli, encoders
from hello_distill.cli import output
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import storage, verification
from hello_distill.format.manifest import IMAGES
from hello_distill.format.specs import Augment, Optim
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.projector import ProjectorSpec, fit_projector, zero_shot
from hello_distill.stages import kept
from hello_distill.stages.kept import fingerprint
from hello_distill.system import distributed
from hello_distill.system.distributed import ALONE, EVERY, Team
from hello_distill.system.errors import InputError, MachineError
from hello_distill.teachers import TeacherSpec, train_teachers
from hello_distill.training import scores
from hello_distill.training.epoch import own_batches
from hello_distill.training.fit import fit
from hello_distill.training.losses import hard_loss
from hello_distill.training.networks import build
from hello_distill.training.scores import predict, top1
from hello_distill.types import Batch, Rows, View
from hello_distill.views import mixed_targets, render, sample_views


def as_one_of(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    """This process as torchrun would have started it."""
    named = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes}
    for name, value in {"TORCHELASTIC_RUN_ID": "none", **named}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_every_row_of_a_batch_belongs_to_one_process(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (7, 16, 50):
        rows = []
        for rank in range(processes):
            monkeypatch.setattr(distributed, "_joined", [Team(rank, processes, rank, processes)])
            rows.append(list(range(count))[distributed.part(count)])
        assert [row for part in rows for row in part] == list(range(count))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_weighted_means_of_parts_have_the_mean_of_the_whole(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking the other processes: none is there to answer."""
    for losses in torch.rand(7).double(), torch.rand(16).double(), torch.rand(50).double():
        weighted = []
        for rank in range(processes):
            monkeypatch.setattr(distributed, "_joined", [Team(rank, processes, rank, processes)])
            own = losses[distributed.part(len(losses))]
            weighted.append(distributed.weight(len(losses)) * own.mean())
        assert sum(weighted).item() / processes == pytest.approx(losses.mean().item(), abs=1e-12)


def test_a_batch_that_is_too_small_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_joined", [Team(0, 8, 0, 8)])
    told = "a batch of 7 images cannot be shared by 8 processes; start fewer with --nproc-per-node"
    with pytest.raises(InputError, match=told):
        distributed.part(7)


def test_alone_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where torchrun's variables are set, but nobody has joined: a caller of the library trains by itself."""
    as_one_of(monkeypatch, 1, 2)
    assert distributed.launched() == Team(1, 2, 1, 2) and distributed._joined == [ALONE]
    assert (distributed.first(), distributed.part(1), distributed.followed(0.1)) == (True, EVERY, 0.1)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name)
    assert distributed.launched() == ALONE


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("per_class", [1, 3, 5, 7, 11])
def test_batches_of_a_test_are_divided(per_class: int, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process makes as many; all have the logits of one process, in their order and to the bit."""
    monkeypatch.setattr(scores, "CPU_BATCH", 10)
    data, model = drawn(per_class, seed=0), build("convnet2_w8", 4, SIDE, 0).eval()
    alone, sent, seen = predict(model, data.images), dict[int, torch.Tensor](), list[int]()

    def all_gather(parts: list[torch.Tensor], own: torch.Tensor) -> None:
        sent[distributed._joined[0].rank] = own
        for rank, part in enumerate(parts):
            part.copy_(sent.get(rank, own))

    def counted(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return model(images)

    monkeypatch.setattr("torch.distributed.all_gather", all_gather)
    found = []
    for rank in [*range(processes)] * 2:  # only the second time there is what all others have sent
        monkeypatch.setattr(distributed, "_joined", [Team(rank, processes, rank, processes)])
        found.append(predict(counted, data.images))
    assert all(torch.equal(logits, alone) for logits in found[processes:])
    batches = -(-len(data) // 10)
    assert len(seen) == 2 * processes * -(-batches // processes)


@pytest.mark.parametrize(
    ("said", "processes", "told"),
    [
        ("Connection closed by peer", 2, "^process 1 of 2 has no answer from the others: one has ended, and said why"),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to", 2, None),
        ("CUDA out of memory. Tried to allocate", 2, None),
        ("Connection closed by peer", 1, None),
    ],
)
def test_what_is_no_missing_answer_is_not_called_one(
    said: str, processes: int, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full memory, and whatever befalls a process alone."""
    monkeypatch.setattr(distributed, "_joined", [Team(1, processes, 1, processes)])
    with pytest.raises(MachineError if told else RuntimeError, match=told or re.escape(said)), distributed.answered():
        raise RuntimeError(said)


def test_the_first_process_alone_hashes_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, sent, hashed = drawn(3, seed=0), list[str](), list[int]()

    def broadcast(texts: list[str], source: int) -> None:
        if distributed.first():
            sent[:] = texts
        texts[:] = sent

    monkeypatch.setattr("torch.distributed.broadcast_object_list", broadcast)
    monkeypatch.setattr(kept, "fingerprint", lambda data: hashed.append(len(data)) or fingerprint(data))
    for rank, each in enumerate([kept.Kept(tmp_path, data, 0) for _ in range(3)]):
        monkeypatch.setattr(distributed, "_joined", [Team(rank, 3, rank, 3)])
        assert each._images == fingerprint(data)
    assert hashed == [len(data)]


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_rows_of_a_view_are_those_of_the_whole(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = drawn(8, seed=0)
    for view in sample_views(len(data), SIDE, 11, Augment(mix=mix), seed=0, epoch=0):
        whole = render(data.images, view)
        assert torch.equal(render(data.images, view, EVERY), whole)
        for rank in range(3):
            monkeypatch.setattr(distributed, "_joined", [Team(rank, 3, rank, 3)])
            own = distributed.part(len(view.rows))
            assert torch.equal(render(data.images, view, own), whole[own])


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_labels_of_rows_are_those_of_the_whole(artefact: Path, batch_statistics: bool) -> None:
    """A teacher that looks at the whole batch labels the whole of it."""
    artifact = artifacts.load(artefact)
    names = ["convnet2_w8"] * 2
    members = [build(name, 4, SIDE, seed) for seed, name in enumerate(names)]
    sources = [
        artifact.labels,
        *(TeacherLabels(names, members, SIDE, how, batch_statistics) for how in ("mean", "norm")),
    ]
    assert [source.by_image for source in sources] == [True, not batch_statistics, False]
    for source in sources:
        artifact = artifacts.Artifact(artifact.data, source, artifact.student, artifact.manifest)
        for view in artifact.views(batch_size=8):
            whole, part = artifact.batch(view), artifact.batch(view, slice(2, 5))
            torch.testing.assert_close(part.soft, whole.soft[2:5], rtol=0, atol=2e-3)
            assert torch.equal(part.images, whole.images[2:5]) and torch.equal(part.hard, whole.hard[2:5])


@pytest.mark.parametrize("command", ["compare", "continual", "info", "evaluate"])
def test_other_commands_are_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    as_one_of(monkeypatch, 0, 2)
    file = tmp_path / "result.json"
    given = {"info": ["a"], "evaluate": ["a", "--data", "b"]}.get(command, ["photos", "--out", str(file)])
    assert cli.main([command, *given]) == 2
    apart = "" if command in ("info", "evaluate") else "; several of them with one --out share the work"
    told = f"torchrun is for distill and train; start `hello-distill {command}` without it{apart}"
    assert capsys.readouterr().err == f"hello-distill: {told}\n" and not file.exists()


def test_the_first_process_speaks_and_the_others_leave_it_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for rank, told in ((0, "hello-distill: "), (1, "hello-distill: process 1 of 2: ")):
        as_one_of(monkeypatch, rank, 2)
        assert cli.main(["info", str(tmp_path)]) == 2
        assert capsys.readouterr().err.startswith(f"{told}torchrun is for distill and train")
    assert slept == [output.SECONDS_FOR_THE_FIRST]
    output.show({}, lambda result: "nothing", as_json=False)
    assert capsys.readouterr() == ("", "")


def torchrun(*arguments: str, folder: Path, limit: float = 120, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Processes with gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), *arguments]
    settings = {**os.environ, "HELLO_DISTILL_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=limit)


PARTS = """
import sys, torch
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/promises", {tests!r} + "/../scripts"]
from hello_distill.system import distributed
from test_distributed import trained

torch.set_num_threads(1)
with distributed.joined():
    team = distributed._joined[0]
    assert team.processes == distributed.processes() == 2
    torch.save(trained({clip!r}), Path({out!r}) / f"{{team.rank}}.pt")
assert distributed._joined == [distributed.ALONE]
"""


def trained(clip: str) -> dict[str, dict[str, torch.Tensor]]:
    """Batches of 8 and 7: a network without batch statistics (an encoder), the projector's LoRA, one with them."""
    data, spec = drawn(9, seed=1), ProjectorSpec(clip, encoder_rank=2, head_rank=3, optim=Optim(2, 8))
    sgd = Optim(epochs=2, batch_size=8, lr=0.01, name="sgd", weight_decay=1e-3)
    whole = train_teachers(data, TeacherSpec(f"encoder/{clip}", (1,), Augment(), sgd), seed=0)
    encoder = encoders.load(clip)
    start = zero_shot(encoder, data.classes, spec)
    adapter = fit_projector(start, encoder, data, whole.ensemble, spec, seed=0)
    batched = train_teachers(data, TeacherSpec("convnet2_w8", (1, 2), Augment(), sgd), seed=0)
    return {
        "encoder": dict(whole.observer.state_dict()),
        "lora": {**adapter.matrices, "scale": torch.tensor(adapter.scale)},
        "batched": dict(batched.observer.state_dict()),
        "checkpoint": dict(batched.ensemble.members[0].state_dict()),
        "double": in_double(sgd),
    }


def in_double(optim: Optim) -> dict[str, torch.Tensor]:
    """A network without batch statistics in float64, on batches of 8 and 7."""
    data = drawn(9, seed=1)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.Flatten(), torch.nn.LazyLinear(4)).double()
    model(data.images[:1].double())
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.linspace(-0.1, 0.1 + number, parameter.numel()).view_as(parameter).sin() / 10)

    def batch(view: View, part: slice) -> Batch:
        hard = mixed_targets(data.targets, view, 4)[part].double()
        return Batch(render(data.images, view, part).double(), hard, hard)

    def batches(epoch: int, first: int) -> Iterator[tuple[Rows, Batch]]:
        return own_batches(sample_views(len(data), SIDE, 8, Augment(), seed=0, epoch=epoch), batch, first)

    fit(model, batches, 5, hard_loss, optim, seed=0)
    return dict(model.state_dict())


@pytest.mark.slow
def test_two_processes_train_what_one_does(clip_folder: Path, tmp_path: Path) -> None:
    """Without batch statistics within 1e-5, in float64 within 1e-9; with them, the two have the same weights and
    statistics to the bit."""
    script = tmp_path / "parts.py"
    clip = f"local-dir:{clip_folder}"
    script.write_text(PARTS.format(tests=str(Path(__file__).parents[1]), clip=clip, out=str(tmp_path)))
    run = torchrun(str(script), folder=tmp_path)
    assert run.returncode == 0, run.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for kind, state in first.items():
        assert state.keys() == second[kind].keys()
        assert all(torch.equal(value, second[kind][name]) for name, value in state.items()), kind
    alone = trained(clip)
    for kind in ("encoder", "lora"):
        for name, value in alone[kind].items():
            torch.testing.assert_close(first[kind][name], value, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    for name, value in alone["double"].items():
        torch.testing.assert_close(first["double"][name], value, rtol=0, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    moved = alone["lora"]["base_model.model.label_head.lora_B.weight"].abs().max()
    assert moved > 1e-3, "there is something to compare"


TESTED = """
import sys, torch
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/promises", {tests!r} + "/../scripts"]
from hello_distill.system import distributed
from test_distributed import logits_of_a_run

torch.set_num_threads(1)
with distributed.joined():
    torch.save(logits_of_a_run(), Path({out!r}) / f"{{distributed._joined[0].rank}}.pt")
"""


def logits_of_a_run() -> list[tuple[torch.Tensor, float | None, int]]:
    """Logits and accuracy on 1, 2 and 3 batches of images, the last of them short, and how many batches were made."""
    model, found = build("convnet2_w8", 4, SIDE, 0).eval(), []
    for per_class in (7, 16, 20):
        data, made = drawn(per_class, seed=per_class), list[int]()

        def counted(images: torch.Tensor, made: list[int] = made) -> torch.Tensor:
            made.append(len(images))
            return model(images)

        found.append((predict(counted, data.images), top1(model, data), len(made)))
    return found


@pytest.mark.slow
def test_two_processes_test_as_one_does(tmp_path: Path) -> None:
    """To the bit, and each makes half of the batches."""
    script = tmp_path / "tests.py"
    script.write_text(TESTED.format(tests=str(Path(__file__).parents[1]), out=str(tmp_path)))
    run = torchrun(str(script), folder=tmp_path)
    assert run.returncode == 0, run.stderr
    alone = logits_of_a_run()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert [made for _, _, made in found] == [1, 1, 2] and [made for _, _, made in alone] == [1, 2, 3]
        for (logits, accuracy, _), (expected, wanted, _) in zip(found, alone, strict=True):
            assert torch.equal(logits, expected) and accuracy == wanted


@pytest.fixture
def config(recipe: Recipe, tmp_path: Path) -> str:
    """The tiny recipe as a file."""
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(recipe.settings()))))
    return str(file)


@pytest.mark.slow
def test_one_artefact_is_written_and_one_table_printed(tree: Path, config: str, tmp_path: Path) -> None:
    command = ["-m", "hello_distill", "distill", str(tree), "--config", config]
    run = torchrun(*command, "--out", "a", "--stages", "stages", "--skipped", "bad.json", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "a is ready; `hello-distill info a` says what it holds\n"
    assert run.stderr.count("\nteachers  ") == run.stderr.count("\nimage update  ") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "bad.json", "recipe.yaml", "stages"]
    assert verification.check_files(tmp_path / "a")["ipc"] == 2
    again = torchrun(*command, "--out", "b", "--stages", "stages", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert storage.sha256(tmp_path / "a" / "SHA256SUMS") == storage.sha256(tmp_path / "b" / "SHA256SUMS")
    train = torchrun(
        "-m", "hello_distill", "train", "a", "--data", str(tree), "--seeds", "0", "--json", folder=tmp_path
    )
    assert train.returncode == 0, train.stderr
    found = json.loads(train.stdout)
    assert found["seeds"] == [0] and found["tested"]["0"].keys() == {"2", "3"} and found["test_images"] == 24


@pytest.mark.slow
def test_one_two_and_three_processes_choose_the_same_patches(tree: Path, config: str, tmp_path: Path) -> None:
    """And move them alike, with the same teachers and the same projector: their files are the same to the byte."""
    command = ["-m", "hello_distill", "distill", str(tree), "--config", config, "--stages", "stages"]
    kinds, made = ("patches", "image update"), []
    for processes in (1, 2, 3):
        run = torchrun(*command, "--out", f"a{processes}", folder=tmp_path, processes=processes)
        assert run.returncode == 0, run.stderr
        files = [file for kind in kinds for file in sorted((tmp_path / "stages" / kind).glob("*/*"))]
        made.append({file.relative_to(tmp_path).as_posix(): file.read_bytes() for file in files})
        for kind in kinds:
            shutil.rmtree(tmp_path / "stages" / kind)
    assert len(made[0]) == 4 + 1 and made[0] == made[1] == made[2]
    images = [storage.sha256(tmp_path / f"a{processes}" / IMAGES) for processes in (1, 2, 3)]
    assert len({*images}) == 1
    versions = [storage.read_manifest(tmp_path / f"a{processes}")["versions"] for processes in (1, 2, 3)]
    assert [each["processes"] for each in versions] == [1, 2, 3]


SLURM = """ClusterName=none
SlurmctldHost=localhost
MessageTimeout=1
AuthType=auth/none
SelectType=select/cons_tres
GresTypes=gpu
PartitionName=all Nodes=ALL Default=YES
"""
CLUSTER = Path(__file__).parents[2] / "docs" / "cluster"


@pytest.mark.parametrize("file", sorted(CLUSTER.iterdir()), ids=lambda file: file.name)
def test_files_for_clusters_are_read_by_what_they_are_for(file: Path, tmp_path: Path) -> None:
    """The shell, torchrun, this command, and Slurm where it is installed (its options come before its controller)."""
    assert subprocess.run(["sh", "-n", str(file)], capture_output=True).returncode == 0
    text = file.read_text().replace("\\\n", " ")
    calls = [line for line in text.splitlines() if "hello_distill " in line or line.startswith("hello-distill ")]
    assert calls
    for line in calls:
        words = [word.replace("$SLURM_NNODES", "2") for word in shlex.split(line)]
        if "torchrun" in words:
            given = distributed_run.get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
            assert given.module and given.training_script == "hello_distill" and given.nproc_per_node == "4"
            words = ["hello-distill", *given.training_script_args]
        assert cli.parsed(words[1:]).subcommand in cli.MULTI_PROCESS
    if "#SBATCH" in text and shutil.which("sbatch"):
        (tmp_path / "slurm.conf").write_text(SLURM)
        settings = {**os.environ, "SLURM_CONF": str(tmp_path / "slurm.conf")}
        said = subprocess.run(["sbatch", "--test-only", str(file)], capture_output=True, text=True, env=settings).stderr
        assert said.startswith("allocation failure: Unable to contact slurm controller"), said


SLOW = """
import os, sys, time
from hello_distill import cli
from hello_distill.format import tensors

real = tensors.read

def slow(file):
    if os.environ["RANK"] == "1" and file.name == "3.safetensors":
        time.sleep(5)
    return real(file)

tensors.read = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_slow_process_finds_its_blocks(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Where nothing comes after the patches but writing the artefact, when the folder of stages goes."""
    assert isinstance(recipe.distiller, HeLlO)
    settings = replace(recipe, distiller=RDED(recipe.distiller.patches)).settings()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    (tmp_path / "slow.py").write_text(SLOW)
    run = torchrun("slow.py", "distill", str(tree), "--config", "recipe.yaml", "--out", "a", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "recipe.yaml", "slow.py"]


PLANTED = """
import os, signal, sys
from hello_distill import cli
from hello_distill.training import fit
from hello_distill.system.errors import MachineError

real, steps = fit.learning_rate, []

def planted(*given):
    steps.append(1)
    if os.environ["RANK"] == "1" and len(steps) == 4:
        {fault}
    return real(*given)

fit.learning_rate = planted
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise MachineError('planted')", "hello-distill: process 1 of 2: planted\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "local_rank: 1"),
    ],
)
def test_a_process_that_fails_ends_all(tree: Path, config: str, tmp_path: Path, fault: str, told: str) -> None:
    """In the midst of the teachers' training: within a minute, not 0, the process named, nothing left."""
    (tmp_path / "planted.py").write_text(PLANTED.format(fault=fault))
    start = time.monotonic()
    run = torchrun("planted.py", "distill", str(tree), "--config", config, "--out", "a", folder=tmp_path)
    assert run.returncode == 1 and time.monotonic() - start < 60
    assert told in run.stderr and run.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planted.py", "recipe.yaml"]


@pytest.mark.slow
def test_what_is_wrong_with_the_call_is_said_once(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    run = torchrun("-m", "hello_distill", "distill", str(tree), "--out", "a", folder=tmp_path)
    assert run.returncode == 1 and "exitcode  : 2" in run.stderr
    told = [line for line in run.stderr.splitlines() if line.startswith("hello-distill: ")]
    assert told == ["hello-distill: a exists already; name another output, or remove it"]
    assert not list((tmp_path / "a").iterdir())
