"""The page's server: its own files and three kinds of answers, on this machine and for its own page alone.

A page of somebody else cannot use it: a request must name this machine as its host (against DNS rebinding), other
origins may embed nothing of it, and labels are asked for by a type of content that browsers send to no other origin
unasked.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hello_distill.system.errors import HelloError, InputError, MachineError
from hello_distill.viewer.asked import answer, read
from hello_distill.viewer.shown import Shown

LONGEST = 4096
"""Bytes of a request for labels."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FILES = {
    "/": ("hello_distill.viewer", "page.html", "text/html"),
    "/page.css": ("hello_distill.viewer", "page.css", "text/css"),
    "/page.js": ("hello_distill.viewer", "page.js", "text/javascript"),
    "/look.css": ("hello_distill.report", "look.css", "text/css"),
}
"""Paths of the page's files: package, name, media type."""


def application(shown: Shown, host: str) -> Starlette:
    """What answers the page of an artefact; `host` is the name that it was told to listen at."""
    asking = threading.Lock()
    described = JSONResponse(shown.described()).body
    media = f"image/{shown.artefact.manifest['images']['codec']['format']}"

    def artefact(request: Request) -> Response:
        return Response(described, media_type="application/json")

    def image(request: Request) -> Response:
        files, row = shown.files.get(request.path_params["which"]), request.path_params["row"]
        if files is None or row >= len(files):
            raise InputError(f"there is no image {request.url.path}")
        return Response(files[row], media_type=media)

    async def labels(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise InputError("labels are asked for with a body of the type application/json")
        asked = read(await _body(request), shown)

        def alone() -> Response:
            with asking:
                return JSONResponse(answer(shown, asked))

        return await run_in_threadpool(alone)

    return Starlette(
        routes=[
            *(Route(path, _file(*place)) for path, place in FILES.items()),
            Route("/artefact", artefact),
            Route("/images/{which}/{row:int}", image),
            Route("/labels", labels, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, host=host)],
        exception_handlers={HelloError: _refused, HTTPException: _unknown},
    )


def _file(package: str, name: str, media: str) -> Callable[[Request], Response]:
    content = resources.files(package).joinpath(name).read_bytes()
    return lambda request: Response(content, media_type=media)


async def _body(request: Request) -> bytes:
    """A request's body. Raises InputError for one that is too long, or that ends early: nobody reads that one."""
    content = b""
    try:
        async for part in request.stream():
            content += part
            if len(content) > LONGEST:
                raise InputError(f"a view is asked for in at most {LONGEST} bytes")
    except ClientDisconnect:
        raise InputError("the request ended before its body did") from None
    return content


def _refused(request: Request, error: Exception) -> Response:
    """A wrong request: one sentence."""
    return PlainTextResponse(str(error), 400)


def _unknown(request: Request, error: Exception) -> Response:
    """A path or a method that is not the page's."""
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}: the page asks for nothing like it", error.status_code, error.headers)


class Guard:
    """Answers requests that name this machine alone, each with the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self.app
        if not _ours(Headers(scope=scope).get("host", ""), self.host):
            app = PlainTextResponse("the page is asked for by the address that `hello-distill view` printed", 400)
        await app(scope, receive, guarded)


def _ours(named: str, host: str) -> bool:
    """Whether a request's host is this machine's: a number, `localhost`, or the name that we listen at.

    Whoever rebinds a name of his own to this machine cannot have the browser send another than that name.
    """
    name = named.removesuffix(f":{named.rpartition(':')[2]}") if not named.endswith("]") else named
    if name in ("localhost", host):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises MachineError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise MachineError(
            f"{host} cannot be listened at on port {port}: {error}; choose another --port or --host"
        ) from None


def address(listener: socket.socket) -> str:
    """The page's address."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: Starlette, listener: socket.socket) -> None:
    """Answer until the process is told to stop."""
    server(app).run(sockets=[listener])


@contextmanager
def running(shown: Shown, host: str = "127.0.0.1") -> Iterator[str]:
    """Answer in a thread of its own, at a free port, while inside; gives the page's address."""
    with listening(host, 0) as listener:
        answering = server(application(shown, host))
        thread = threading.Thread(target=answering.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address(listener)
        finally:
            answering.should_exit = True
            thread.join()


def server(app: Starlette) -> uvicorn.Server:
    """What answers, quietly: no log of requests, nothing but HTTP."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
