"""The data set card of an artefact: what `datasets` and the Hub read of it, and what people do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import huggingface_hub
from datasets.info import DatasetInfosDict

from hello_distill.format.kinds import part_of
from hello_distill.system.errors import listed, printable

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")
"""The Hub's size categories; the first is up to 1,000 images."""


def features(classes: Sequence[str]) -> datasets.Features:
    """Columns of an artefact's images."""
    return datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))})


def card(manifest: Mapping[str, Any], images: Mapping[str, Any]) -> str:
    """README.md of an artefact; `images` is the size and hash of its Parquet file."""
    count, classes, source = manifest["images"]["count"], manifest["classes"], manifest["source"]
    origin = f" from {quoted(source['name'])}" if source["name"] else ""
    pixels = quoted(manifest["images"]["made_of"].capitalize())
    parts = [
        f"---\n{front(manifest, images)}\n---",
        f"# A distilled data set: {len(classes)} classes, {manifest['ipc']} images per class",
        f"{count} images of {manifest['images']['side']} pixels, made by hello-distill{origin}. `hello.json` says "
        "how they were made, how their labels are made while a network trains, and how that training goes.",
        f"**What the images show.** {pixels}. Whoever may not see the original images should not see these.",
        *teachers(manifest.get("teachers", [])),
        *short_classes(manifest["figures"]),
        f"**Licence.** {licence(source['license'] or 'unknown')}",
        f"**Expected accuracy.** {_expected(manifest)}",
        "**Check it.** `sha256sum -c SHA256SUMS`, or `hello-distill verify .`, which looks inside, too.",
        "## Open it\n\n" + snippet(manifest["labels"]),
    ]
    return "\n\n".join(parts) + "\n"


def front(manifest: Mapping[str, Any], images: Mapping[str, Any]) -> str:
    """The card's YAML. `datasets` checks the number of rows against it.

    The images' hash is part of it because `datasets` finds its cache by the folder's name and by these lines alone:
    without it, two artefacts in folders of one name would both open as the first.
    """
    count, source = manifest["images"]["count"], manifest["source"]
    data = huggingface_hub.DatasetCardData(
        pretty_name=f"{len(manifest['classes'])} classes, {manifest['ipc']} distilled images per class",
        task_categories=["image-classification"],
        size_categories=[SIZE_NAMES[sum(count > size for size in SIZES)]],
        tags=["dataset-distillation", "image", "datasets"],
        source_datasets=[source["name"]] if source["name"] else None,
        configs=[
            {
                "config_name": "default",
                "description": f"sha256 of the images {images['sha256']}",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
        **{key: source[key] for key in ("license", "license_name", "license_link") if source[key]},
    )
    train = datasets.SplitInfo("train", num_bytes=images["bytes"], num_examples=count)
    info = datasets.DatasetInfo(features=features(manifest["classes"]), splits=datasets.SplitDict({"train": train}))
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    return data.to_yaml()


PLAIN = re.compile(r"([^\W_]|[ /-])+")
"""Words without meaning in Markdown."""


def quoted(text: str) -> str:
    """A stranger's text as Markdown that shows it: as it is where it is plain words, else as code, on one line."""
    text = printable(text)
    if PLAIN.fullmatch(text):
        return text
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}"


def teachers(brought: Sequence[Mapping[str, Any]]) -> list[str]:
    """A paragraph where teachers were brought along, and none otherwise."""
    if not brought:
        return []
    named = ", ".join(f"{quoted(own['name'])} (SHA-256 `{own['sha256']}`)" for own in brought)
    return [f"**Teachers.** Trained elsewhere and brought along: {named}."]


def short_classes(figures: Mapping[str, Any]) -> list[str]:
    """A paragraph where classes had too few training images, and none otherwise."""
    if not (short := figures.get("short_classes")):
        return []
    done = "there are fewer images of them" if short["rule"] == "fewer" else "their images were used more than once"
    counts = short["training_images"]
    affected = listed([f"{quoted(name)} ({count})" for name, count in counts.items()])
    return [f"**Short classes.** {len(counts)} classes had few training images, so {done}: {affected}."]


def licence(name: str) -> str:
    """What is said of a licence; `unknown` is none."""
    if name == "unknown":
        return (
            "The source names none, so none is given here: ask whoever owns the original images before you pass these "
            "on."
        )
    return f"That of the original images: {quoted(name)}. It holds for what is made from them."


def _expected(manifest: Mapping[str, Any]) -> str:
    expected = manifest["expected"]
    if expected is None:
        return "Not measured. `hello-distill evaluate . --data DATA --record OUT` measures it and writes it down."
    last, student = expected["top1_last"], manifest["student"]
    return (
        f"{last['mean']:.1f} % top-1 after the last epoch (sd {last['sd']:.1f} over {len(last['runs'])} students) on "
        f"{expected['test_images']} test images: `{student['network']}`, {student['optim']['epochs']} epochs in "
        f"batches of {student['optim']['batch_size']}; the whole training stands in `hello.json`. "
        "`hello-distill evaluate . --data DATA` runs it again and says whether the result is within range."
    )


def snippet(labels: Mapping[str, Any]) -> str:
    """Code that opens the artefact: with stock libraries alone where its labels allow that."""
    part = part_of(labels)
    if stock := part.stock_code():
        return f"{stock}\nWith it:\n\n{OURS}"
    return (
        "Stock `datasets` opens images and classes. Labels as a network sees them while it trains need "
        f"hello-distill, which alone reads this form of them ({part.title()}).\n\n{OURS}"
    )


OURS = """```python
import datasets
import hello_distill as hd

data = datasets.load_dataset("PATH")["train"]
artifact = hd.load("PATH")
for images, soft, hard in artifact.loader(batch_size=64, epoch=0):
    ...
```
"""
