"""Two runs on one machine take about twice as long as one, and not many times."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEPS = """
import sys, time
import hello_distill.training.networks as networks
import torch
torch.set_num_threads(2)
model, x = networks.build("convnet3_w64", 10, 28, 0).train(), torch.rand(12, 3, 28, 28)

def seconds(steps):
    start = time.perf_counter()
    for _ in range(steps):
        model.zero_grad()
        model(x).square().mean().backward()
    return time.perf_counter() - start

seconds(5)
print("ready", flush=True)
for line in sys.stdin:
    print(seconds(int(line)), flush=True)
"""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}


def test_threads_sleep_while_they_wait() -> None:
    """Unless the user says otherwise; what OpenMP took from the environment it says itself."""
    asked = {"OMP_DISPLAY_ENV": "TRUE"}
    for given, taken in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")):
        done = subprocess.run(
            [sys.executable, "-c", "import hello_distill.views"],
            env=environment() | asked | given,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and f"OMP_WAIT_POLICY = '{taken}'" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_run_beside_another_takes_about_twice_as_long() -> None:
    """With spinning threads these steps took about twenty times as long on two cores."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STEPS],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    def asked(some: list[subprocess.Popen[str]]) -> float:
        for process in some:
            assert process.stdin is not None
            process.stdin.write("150\n")
            process.stdin.flush()
        return max(float(process.stdout.readline()) for process in some if process.stdout is not None)

    try:
        assert [process.stdout.readline() for process in started if process.stdout is not None] == ["ready\n"] * 2
        ratios = [asked(started) / asked(started[:1]) for _ in range(5)]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert sorted(ratios)[2] < 3, ratios
