"""Studies by name: the paper's experiments, what it leaves open, the images, and photographs."""

from __future__ import annotations

from collections.abc import Callable

from hello_distill.experiments.study import Study
from hello_distill.recipes.studies import choices, images, paper, photographs

STUDIES: dict[str, Callable[[], Study]] = {
    "architectures": paper.architectures_small,
    "ablation": paper.ablation_small,
    "ranks": paper.ranks_small,
    "stages": paper.stages_small,
    "choices": choices.choices_small,
    "lengths": choices.lengths_small,
    "optimisers": choices.optimisers,
    "students": choices.students,
    "students-hard": choices.students_hard,
    "crops": images.crops_small,
    "images": images.images_small,
    "images-photographs": images.images_photographs,
    "steps-500": photographs.steps_500,
    "steps-3000": photographs.steps_3000,
    "steps-10000": photographs.steps_10000,
    "architectures-many": paper.architectures_many,
    "ablation-many": paper.ablation_many,
}
