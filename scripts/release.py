"""What must hold before a release; leaves the wheel, the source distribution and the bill of materials in dist/.

    python scripts/release.py     # needs the extra [release], git and a network

1. The wheel of the last commit, built twice, is the same to the byte; so is that of its source distribution.
2. pip-audit has looked at every package of requirements.lock and knows no vulnerability. A package that it could not
   look at has not been audited.
3. The bill of materials (CycloneDX) lists every package of requirements.lock.

Exit codes: 0 ready, 2 something to put right first, 3 something that could not be looked at here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
DIST = ROOT / "dist"
AUDIT = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
BILL = [sys.executable, "-m", "cyclonedx_py", "requirements"]


class NotReady(Exception):
    """A reason not to release, with the exit code."""

    def __init__(self, reason: str, code: int = 2) -> None:
        super().__init__(reason)
        self.code = code


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A command in the repository, its output kept."""
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, **options)


def build(place: Path) -> Path:
    """The wheel of the last commit, built in a folder of its own."""
    return wheel_of(last_commit(place), place)


def last_commit(place: Path) -> Path:
    """The files of the last commit, in a folder of their own."""
    with tarfile.open(fileobj=io.BytesIO(run("git", "archive", "HEAD", check=True).stdout)) as archive:
        archive.extractall(place / "source", filter="data")
    return place / "source"


def wheel_of(source: Path, place: Path) -> Path:
    """The wheel of a folder or of a source distribution; its time stamps are those of the last commit.

    Raises NotReady where it cannot be built.
    """
    when = run("git", "log", "-1", "--format=%ct", check=True).stdout.decode().strip()
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-index"]
    done = run(*pip, "--wheel-dir", place, source, env={**os.environ, "SOURCE_DATE_EPOCH": when}, umask=0o022)
    if done.returncode:
        raise NotReady(f"the wheel cannot be built: {done.stderr.decode().strip()}")
    return next(place.glob("*.whl"))


def source_distribution(source: Path, place: Path) -> Path:
    """The source distribution of a folder. Raises NotReady where it cannot be built."""
    made = f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})"
    done = subprocess.run([sys.executable, "-c", made], cwd=source, capture_output=True, umask=0o022)
    if done.returncode:
        raise NotReady(f"the source distribution cannot be built: {done.stderr.decode().strip()}")
    return next(place.glob("*.tar.gz"))


def same_wheel_twice() -> str:
    """Build the wheel in two folders and keep it in dist/. Raises NotReady where they differ."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        wheels = [build(Path(one)), build(Path(other))]
        digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
        if digests[0] != digests[1]:
            raise NotReady(f"two builds of {wheels[0].name} differ")
        shutil.copyfile(wheels[0], DIST / wheels[0].name)
    return f"{wheels[0].name}, built twice, sha256 {digests[0]}"


def same_wheel_from_source() -> str:
    """Build the source distribution, keep it in dist/, and a wheel of it. Raises NotReady where that is another."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        archive = source_distribution(last_commit(place), place)
        wheel = wheel_of(archive, place)
        kept = DIST / wheel.name
        if not kept.is_file() or kept.read_bytes() != wheel.read_bytes():
            raise NotReady(f"the wheel of {archive.name} is not that of the commit")
        shutil.copyfile(archive, DIST / archive.name)
    return f"{archive.name}, of which the same wheel is built"


def locked() -> set[str]:
    """Names of the packages in requirements.lock."""
    return set(re.findall(r"^([A-Za-z0-9_.-]+)==", LOCK.read_text(), re.MULTILINE))


def audited(report: dict[str, Any], packages: set[str]) -> str:
    """Judge pip-audit's report. Raises NotReady for a vulnerability, and for a package that it did not look at."""
    found = report["dependencies"]
    vulnerable = [f"{one['name']} {one['version']} ({v['id']})" for one in found for v in one.get("vulns", [])]
    if vulnerable:
        raise NotReady(f"known vulnerabilities: {', '.join(vulnerable)}; raise these packages with `make lock`")
    missing = packages - {one["name"] for one in found if "vulns" in one}
    if missing:
        shown = ", ".join(sorted(missing)[:3]) + (", ..." if len(missing) > 3 else "")
        raise NotReady(f"{len(missing)} of {len(packages)} packages were not audited ({shown}); go online", 3)
    return f"{len(found)} packages audited, no known vulnerability"


def no_known_vulnerability() -> str:
    """Run pip-audit over the lock."""
    done = run(*AUDIT, "--requirement", LOCK, "--format", "json")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.decode().strip().splitlines() or ["it said nothing"])[-1]
        raise NotReady(f"pip-audit has not run: {last}; `pip install '.[release]'` and go online", 3) from None
    return audited(report, locked())


def complete(bill: dict[str, Any], packages: set[str]) -> str:
    """Judge a bill of materials. Raises NotReady where it is none or lacks a package."""
    missing = packages - {component["name"] for component in bill.get("components", [])}
    if bill.get("bomFormat") != "CycloneDX" or missing:
        lacks = f"the bill of materials lacks {len(missing)} of {len(packages)} packages"
        raise NotReady(f"{lacks}; `pip install '.[release]'`", 3)
    return f"bill of materials of {len(packages)} packages"


def bill_of_materials() -> str:
    """Write dist/sbom.cdx.json."""
    file = DIST / "sbom.cdx.json"
    options = ["--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--output-file", file]
    run(*BILL, *options, LOCK)
    return complete(json.loads(file.read_text()) if file.is_file() else {}, locked())


def main() -> int:
    """Check everything, also after something has failed; returns the exit code."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    code = 0
    if run("git", "status", "--porcelain", check=True).stdout:
        print("not ready: there are changes that are not committed; the wheel is that of the last commit")
        code = 2
    for check in (same_wheel_twice, same_wheel_from_source, no_known_vulnerability, bill_of_materials):
        try:
            print(f"ready: {check()}")
        except NotReady as reason:
            print(f"not ready: {reason}")
            code = code or reason.code
    return code


if __name__ == "__main__":
    sys.exit(main())
