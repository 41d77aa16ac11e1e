"""What people do with an opened artefact: iterate, iterate again, hand it to other processes, ask its labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hello_distill as hd
from hello_distill.system.errors import InputError


def test_a_loader_gives_a_whole_new_epoch_each_time(artefact: Path) -> None:
    opened = hd.load(artefact)
    loader = opened.loader(batch_size=3, epoch=1)
    assert len(loader) == 3
    for epoch in (1, 2, 3):
        expected = list(opened.loader(batch_size=3, epoch=epoch))
        assert [len(batch.images) for batch in expected] == [3, 3, 2]
        for batch, other in zip(loader, expected, strict=True):
            assert all(map(torch.equal, batch, other))
    assert loader.epoch == 4


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_holds_an_image_at_least(artefact: Path, batch_size: int) -> None:
    with pytest.raises(InputError, match=rf"batch_size is {batch_size}; a batch holds at least one image"):
        hd.load(artefact).loader(batch_size=batch_size)


def test_stored_labels_say_at_once_which_epochs_they_have(kinds: dict[str, Path]) -> None:
    opened = hd.load(kinds["stored"])
    epochs = opened.student.optim.epochs
    loader = opened.loader(epoch=epochs - 1)
    assert len(list(loader)) == 2
    with pytest.raises(InputError, match=f"labels of {epochs} epochs are stored, and epoch {epochs + 1}"):
        iter(loader)
    with pytest.raises(InputError, match=f"labels of {epochs} epochs are stored, and epoch {epochs + 1}"):
        opened.loader(epoch=epochs)


ELSEWHERE = """
import json, multiprocessing, pickle, sys
import torch
import hello_distill as hd

class Epochs(torch.utils.data.IterableDataset):
    def __init__(self, loader): self.loader = loader
    def __iter__(self): return ([*map(torch.Tensor.double, batch)] for batch in self.loader)

def same(ours, theirs):
    return all(torch.equal(a.double(), b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other))

def message(images, opened, view):
    try:
        opened.labels(images, view)
    except hd.InputError as error:
        return str(error)

if __name__ == "__main__":
    said = {}
    for kind, folder in json.loads(sys.argv[1]).items():
        opened = hd.load(folder)
        ours, view = list(opened.loader()), next(iter(opened.views()))
        ways = {"pickle": Epochs(pickle.loads(pickle.dumps(opened)).loader())}
        for start in sys.argv[2:] if kind in ("projector", "teacher") else []:
            ways[start] = torch.utils.data.DataLoader(
                Epochs(opened.loader()), batch_size=None, num_workers=1, multiprocessing_context=start)
        images = ours[0].images
        wrong = {"uint8": (255 * images).byte(), "255": 255 * images, "normalised": 4 * images - 2}
        said[kind] = {name: same(ours, way) for name, way in ways.items()}
        said[kind] |= {name: message(batch, opened, view) for name, batch in wrong.items()}
        said[kind]["right"] = message(images, opened, view)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        said["forked"] = pool.apply(torch.get_num_threads)
    print(json.dumps(said))
"""


def test_labels_are_the_same_in_other_processes_and_only_for_images(kinds: dict[str, Path], tmp_path: Path) -> None:
    """Without the tests' own check of types: what a user of any kind of labels is told, and gets after a pickle."""
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    folders = json.dumps({kind: str(folder) for kind, folder in kinds.items()})
    command = [sys.executable, str(script), folders, "fork", "forkserver"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("forked") == 1
    assert set(said) == set(kinds)
    for kind, results in said.items():
        assert results.pop("uint8").startswith("images to be labelled are float in [0, 1], not uint8; divide"), kind
        assert results.pop("255").startswith("images to be labelled are float in [0, 1], not from "), kind
        assert results.pop("normalised").endswith("; labels normalise them"), kind
        assert results.pop("right") is None
        assert set(results.values()) == {True}, (kind, results)
        assert set(results) == {"pickle", "fork", "forkserver"} if kind in ("projector", "teacher") else {"pickle"}
