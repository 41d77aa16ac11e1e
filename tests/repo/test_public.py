"""The names that users import, and what the README and the documentation say of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import hello_distill as hd

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in hd.__all__:
        assert getattr(hd, name).__doc__, name
    assert set(dir(hd)) == set(hd.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        hd.distil  # noqa: B018


def test_importing_the_package_needs_no_torch() -> None:
    script = "import sys, hello_distill; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def snippets() -> list[str]:
    """Python that users copy from the README and from the first page of the documentation."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/getting-started.md")]
    return [snippet for text in texts for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("number", range(len(snippets())))
def test_snippets_of_the_documentation_run(
    number: int, artefact: Path, tree: Path, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that holds `out/a` and `photos`; a recipe asked for by name is the tests' tiny one."""
    shutil.copytree(artefact, tmp_path / "out" / "a")
    (tmp_path / "photos").symlink_to(tree)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hd, "recipe", lambda name, ipc=None: replace(recipe, ipc=ipc or recipe.ipc), raising=False)
    exec(compile(snippets()[number], "README.md", "exec"), {})


def test_the_documentation_has_snippets() -> None:
    assert any("hd.load(" in snippet and ".loader(" in snippet for snippet in snippets())
    assert any("hd.distill(" in snippet for snippet in snippets())


def test_one_version_is_stated() -> None:
    """In the package, the changes and the citation."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff")]
    shapes = (r'^version = "(.+)"$', r"^## ([\d.]+), ", r"^version: (.+)$")
    found = [re.search(shape, text, re.MULTILINE) for shape, text in zip(shapes, texts, strict=True)]
    assert len({match and match[1] for match in found}) == 1 and found[0]


def test_the_readme_is_one_page() -> None:
    content = (ROOT / "README.md").read_bytes()
    lines = content.decode().splitlines()
    assert len(content) <= 8192 and len(lines) <= 150
    assert any("pip install" in line for line in lines[:25])


def test_every_recipe_and_command_is_documented() -> None:
    from hello_distill.recipes import RECIPES

    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name, make in RECIPES.items():
        assert re.search(rf"^  {name} ", text, re.MULTILINE), name
        assert make.__doc__, name
    command = [sys.executable, "-m", "hello_distill", "--help"]
    listed = re.search(r"\{([\w,]+)\}", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert listed
    for name in listed[1].split(","):
        assert f"\n## {name}\n" in text, name


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: hello_distill\.(\w+)$", text, re.MULTILINE)) == set(hd.__all__)


def test_every_page_is_in_the_navigation_and_in_the_readme() -> None:
    pages = {file.name for file in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r'"([\w-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))) == pages
    linked = set(re.findall(r"\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert linked == pages - {"index.md"}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse prints help in another way; CI has Python 3.11")
def test_what_is_generated_in_the_documentation_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_figures_are_generated() -> None:
    """No accuracy is typed: outside of what is generated nothing looks like a mean with its spread."""
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        typed = re.sub(r"<!-- (?!end).*?<!-- end -->", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\d \+- \d", typed), file.name


def test_every_promise_has_its_tests() -> None:
    """And every promise that is listed has a name of its own and one test at least."""
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    names = [row.split("**")[1] for row in rows]
    assert len(names) == len(set(names)) == 27
    for row in rows:
        assert re.search(r"`(?:\w+/)?test_\w+\.py::test_\w+`", row), row
    for file, name in re.findall(r"`((?:\w+/)?test_\w+\.py)::(test_\w+)`", text):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (file, name)
