"""What a stranger may write into the card of an artefact: text that shows as it is, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from conftest import seal
from hello_distill.artifact import load
from hello_distill.format.card import card, quoted
from hello_distill.format.manifest import IMAGES
from hello_distill.system.errors import ArtifactError

HOSTILE = [
    "x\n\n# Heading", "x\n---\nlicense: mit\n---\n# Heading", "x\n===\n", "[a](http://x)", "<http://x>", "http://x",
    "a@b.com", "<script>alert(1)</script>", "<!--", "![a](http://x)", "`a` [b](http://x)", "``` [b](http://x)",
    "*a* __b__ ~~c~~", "&lt;b&gt;", "a | b", "$x$", "\\[a](http://x)", "- a: b", "!!python/object:x", "x: {y", "'\"",
    "x\u2028---\u2028# Heading", "`", " ` ", "<b>", "\\", "x\\`[b](http://x)`",
]  # fmt: skip
SHOWN = MarkdownIt("commonmark").enable(["strikethrough", "table"])


def tokens(text: str) -> list[str]:
    """Kinds of everything in a Markdown text, text and code apart."""
    flat = [inner for token in SHOWN.parse(text) for inner in (token, *(token.children or []))]
    return [token.type for token in flat if token.type not in ("text", "code_inline", "softbreak", "text_special")]


def body(text: str) -> str:
    """A card without its YAML, as the Hub divides it."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))", text)
    assert found
    return text[found.end() :]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_text_shows_as_it_is(text: str, artefact: Path) -> None:
    """Whatever it says, the card has the same headings, paragraphs and links (none), and the same fields of YAML."""
    honest: dict[str, Any] = json.loads((artefact / "hello.json").read_text())
    names = ["one", "two", "three", "four"]

    def made(name: str) -> str:
        licences = dict.fromkeys(("license", "license_name", "license_link"), name)
        short = {"rule": "fewer", "training_images": {name: 1}}
        changes = {
            "classes": [name, *names[1:]],
            "source": {"name": name, **licences},
            "images": {**honest["images"], "made_of": name},
            "figures": {"short_classes": short},
        }
        return card({**honest, **changes}, honest["files"][IMAGES])

    hostile, expected = made(text), made("one")
    assert tokens(body(hostile)) == tokens(body(expected))
    assert "link_open" not in tokens(body(hostile)) and "html_inline" not in tokens(body(hostile))
    found, plain = (yaml.safe_load(whole[: len(whole) - len(body(whole)) - 4]) for whole in (hostile, expected))
    assert list(found) == list(plain) and found["license"] == found["source_datasets"][0] == text
    assert found["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]["0"] == text


def test_plain_words_stay_as_they_are() -> None:
    for text in ("mit", "crops of real images of the source", "zalandoresearch/fashion-mnist", "犬"):
        assert quoted(text) == text
    assert quoted("cc-by-4.0") == "` cc-by-4.0 `"
    assert quoted("a`b``c") == "``` a`b``c ```"


@pytest.mark.parametrize("end", ["\n", "\t", "\u2028"])
def test_fields_of_one_line_have_one(end: str, artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    honest = json.loads((folder / "hello.json").read_text())
    text = f"x{end}y"
    for changes, place in (
        ({"source": {**honest["source"], "name": text}}, "source.name"),
        ({"source": {**honest["source"], "license_link": text}}, "source.license_link"),
        ({"images": {**honest["images"], "made_of": text}}, "images.made_of"),
        ({"versions": {**honest["versions"], "python": text}}, "versions.python"),
        ({"figures": {text: 1.0}}, ""),
    ):
        seal(folder, **{**honest, **changes})
        with pytest.raises(ArtifactError, match=rf"`?{place}.*: Value error, must be one line, without tabs"):
            load(folder)
