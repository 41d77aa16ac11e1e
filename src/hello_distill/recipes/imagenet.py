"""The paper's experiments on ImageNet, for one GPU or, under `torchrun --nproc-per-node N -m`, several of a machine."""

from __future__ import annotations

from dataclasses import replace

from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.recipe import Recipe
from hello_distill.recipes.hello import paper
from hello_distill.system.errors import InputError

BATCH_SIZES = {1: 20, 10: 100, 50: 200, 100: 200, 200: 200}
"""Of students by images per class: RDED's for 100 and 1,000 classes. Beyond 50 it has none; ours is that of 50."""


def imagenet100(ipc: int = 10) -> Recipe:
    """`paper` on a hundred ImageNet classes, head rank 64; IPC 1, 10, 50, 100 or 200.

        hello-distill distill IMAGENET:classes=imagenet100 --recipe imagenet100 --ipc 10 --out OUT
        hello-distill train OUT --data IMAGENET:classes=imagenet100

    IMAGENET holds folders named by WordNet ids. `imagenet100` are the first hundred ids of ILSVRC 2012: the field has
    at least four lists of that name, neither HeLlO nor RDED says which it took, and so figures beside theirs may be of
    other classes. Another list is a file with one name on a line: `IMAGENET:classes=FILE`.

    The projector takes 666,072 numbers. Decoded images take 18 GiB: in memory, or in a file of the cache where memory
    does not hold twice that for each process.
    """
    return _imagenet(ipc, head_rank=64)


def imagenet1k(ipc: int = 10) -> Recipe:
    """`paper` on the 1,000 ImageNet classes, head rank 128; IPC 1, 10, 50, 100 or 200.

        hello-distill distill IMAGENET --recipe imagenet1k --ipc 10 --out OUT

    At IPC 200 a class needs 800 images for its patches and the smallest has 732: add `--short-class repeat` (RDED's
    code cannot run there). The projector takes 853,208 numbers. Decoded images take 180 GiB: in memory, or in a
    file of the cache where memory does not hold twice that for each process. How fast teachers train then hangs on its
    disk. On four GPUs:

        torchrun --nproc-per-node 4 -m hello_distill distill IMAGENET --recipe imagenet1k --ipc 10 --out OUT
    """
    return _imagenet(ipc, head_rank=128)


def _imagenet(ipc: int, head_rank: int) -> Recipe:
    """`paper` with its ranks spelt out, and the batch size that belongs to the images per class."""
    if ipc not in BATCH_SIZES:
        choices = ", ".join(map(str, BATCH_SIZES))
        raise InputError(f"the ImageNet recipes are for IPC {choices}, not {ipc}; the recipe `paper` takes any")
    recipe = paper(ipc)
    assert isinstance(recipe.distiller, HeLlO)
    projector = replace(recipe.distiller.projector, encoder_rank=8, head_rank=head_rank)
    student = replace(recipe.student, optim=replace(recipe.student.optim, batch_size=BATCH_SIZES[ipc]))
    return replace(recipe, distiller=replace(recipe.distiller, projector=projector), student=student)
