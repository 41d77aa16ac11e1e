"""An artefact as a page on this machine, whose soft labels move with the crop: `hello-distill view`."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from hello_distill.system.errors import MachineError
from hello_distill.viewer.shown import opened


def view(
    folder: str | Path,
    others: Sequence[str | Path] = (),
    before: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = False,
) -> None:
    """Serve the page of an artefact until the process is stopped, and print its address. See `hello-distill view`.

    `others` are artefacts whose labels are asked, too, `before` is one of the same run without the image update;
    `port` 0 takes a free one. Nothing is written.

    Raises what `shown.opened` raises, and MachineError where Starlette or uvicorn is missing, or the address cannot be
    had.
    """
    try:
        from hello_distill.viewer import server
    except ImportError:
        raise MachineError(
            "view needs Starlette and uvicorn; install them with `pip install 'hello-distill[view]'`"
        ) from None
    with server.listening(host, port) as listener:
        shown = opened(folder, others, before)
        address = server.address(listener)
        print(f"{address} shows {shown.name}; Ctrl-C stops it", flush=True)
        if browser:
            webbrowser.open(address)
        server.serve(server.application(shown, host), listener)
