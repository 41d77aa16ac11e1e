"""The names that users import, and the snippets that they copy from the README."""

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
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(snippets())))
def test_snippets_of_the_readme_run(
    number: int, artefact: Path, tree: Path, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that holds `out/a` and `photos`; a recipe asked for by name is the tests' tiny one."""
    shutil.copytree(artefact, tmp_path / "out" / "a")
    (tmp_path / "photos").symlink_to(tree)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hd, "recipe", lambda name, ipc=None: replace(recipe, ipc=ipc or recipe.ipc), raising=False)
    exec(compile(snippets()[number], "README.md", "exec"), {})


def test_the_readme_has_snippets() -> None:
    assert any("hd.load(" in snippet and ".loader(" in snippet for snippet in snippets())
    assert any("hd.distill(" in snippet for snippet in snippets())


def test_the_readme_and_the_recipes_agree_on_names() -> None:
    from hello_distill.recipes import RECIPES

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, make in RECIPES.items():
        assert f"`{name}`" in text, name
        assert make.__doc__, name


def test_the_tables_of_the_readme_are_those_of_the_result_files() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_promise_has_its_tests() -> None:
    """And every promise that is listed has one at least."""
    rows = [line for line in (ROOT / "docs" / "promises.md").read_text().splitlines() if line.startswith("| T")]
    assert [row.split(" | ")[0] for row in rows] == [f"| T{n}" for n in (3, *range(7, 26), 27, 28)]
    for row in rows:
        named = re.findall(r"`((?:\w+/)?test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(), (file, name)
