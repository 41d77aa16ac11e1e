"""The card of a projector that lies in a model repository of its own, beside the data set that it labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import huggingface_hub

from hello_distill.format.card import licence, quoted
from hello_distill.format.kinds import part_of
from hello_distill.system.hub import Repository

FACTS = "projector.json"
"""What the projector's files alone do not say: classes, encoder, how logits follow, the data set, the files."""


def model_card(manifest: Mapping[str, Any], data_set: Repository, model: Repository, encoder: str | None) -> str:
    """README.md of the model repository; `encoder` is the repository of the public encoder, where it has one."""
    labels, source = manifest["labels"], manifest["source"]
    named = quoted(labels["encoder"]["name"])
    linked = f"[{named}]({Repository(encoder).address('model')})" if encoder else named
    weights = ", ".join(f"{quoted(each['name'])} (SHA-256 `{each['sha256']}`)" for each in labels["encoder"]["weights"])
    front = huggingface_hub.ModelCardData(
        library_name="peft",
        pipeline_tag="image-classification",
        tags=["dataset-distillation", "lora"],
        datasets=[data_set.name],
        base_model=encoder,
        base_model_relation="adapter" if encoder else None,
        license=source["license"],
        license_name=source["license_name"],
        license_link=source["license_link"],
    )
    parts = [
        f"---\n{front.to_yaml()}\n---",
        f"# A projector for {len(manifest['classes'])} classes",
        f"It labels the images of the distilled data set [{data_set.name}]({data_set.address('dataset')}) while a "
        "network trains on them: low-rank updates of a public image encoder, and a linear head. "
        f"`{FACTS}` names the classes in their order, and says how logits follow.",
        f"**Encoder.** {linked}, whose weights are not here: {weights}.",
        f"**Licence.** {licence(source['license'] or 'unknown')}",
        "## Use it\n\n" + usage(labels, data_set, model),
    ]
    return "\n\n".join(parts) + "\n"


def usage(labels: Mapping[str, Any], data_set: Repository, model: Repository) -> str:
    """Code that makes labels: with stock libraries, too, where they read this form of a projector."""
    ours = OURS.replace("REPO", data_set.name)
    if (stock := part_of(labels).stock_code()) is None:
        return ours
    for here, there in {
        "import datasets, numpy": "import datasets, huggingface_hub, numpy",
        'open("PATH/hello.json")': f'open(huggingface_hub.hf_hub_download("{model.name}", "{FACTS}"))',
        '"PATH/projector"': f'"{model.name}"',
        '"PATH"': f'"{data_set.name}"',
    }.items():
        stock = stock.replace(here, there)
    return f"{stock}\nWith it:\n\n{ours}"


OURS = """```python
import hello_distill as hd

artifact = hd.load("hf://REPO")
for images, soft, hard in artifact.loader(batch_size=64, epoch=0):
    ...
logits = artifact.label(images)
```
"""
