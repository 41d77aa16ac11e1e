"""A stand-in of the Hugging Face Hub's HTTP interface on loopback: as much of it as pushing and pulling asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretsecretsecret"
READ_ONLY = "hf_onlyreadonlyreadonly"
LARGE = (".parquet", ".safetensors")
"""What the Hub keeps as LFS; the rest lies in git itself."""


@dataclass
class Repository:
    """Commits, and the branches that point at them."""

    private: bool
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        """Make a commit of these files and point the branch at it."""
        sha = hashlib.sha1(f"{len(self.commits)} {branch} {sorted(files)}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit by its hash or its branch, with its files."""
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


@dataclass
class Hub:
    """What the stand-in holds, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    """By `datasets/owner/name` or `models/owner/name`."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and content of each request."""
    endpoint: str = ""
    uploads_left: int | None = None
    """How many large files are taken before connections are cut."""
    downloads_left: int | None = None
    """How many large files are given before one is cut in its middle and the Hub is down."""
    down: bool = False
    """Answers everything with 503."""

    def create(self, key: str, private: bool, **files: bytes) -> Repository:
        """A new repository; like the Hub's it begins with a commit."""
        made = self.repositories.setdefault(key, Repository(private))
        made.commit("main", {".gitattributes": b"*.parquet filter=lfs\n", **files})
        return made


class Handler(BaseHTTPRequestHandler):
    """Answers a request. `hub` is set by `serving`."""

    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, content: Any = None, **headers: str) -> None:
        """Send JSON, or bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, said: str = "") -> None:
        """Answer as the Hub does when it will not."""
        self.answer(status, {"error": said or code}, X_Error_Code=code, X_Error_Message=said or code)

    def handle_any(self) -> None:
        """Find what is asked for."""
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        is_json = "json" in (self.headers.get("Content-Type") or "") and "ndjson" not in self.headers["Content-Type"]
        content = json.loads(raw) if is_json and raw else raw
        self.hub.asked.append((self.command, path, content))
        if self.hub.down:
            return self.answer(503, {})
        writes = self.command not in ("GET", "HEAD") and not path.startswith("/lfs/")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if writes and token != TOKEN:
            said = "You don't have the rights" if token == READ_ONLY else "Invalid username or password."
            return self.refuse(403 if token == READ_ONLY else 401, "", said)
        for pattern, method in ROUTES.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return getattr(self, method)(content, token, **match.groupdict())
        return self.answer(404, {"error": f"the stand-in knows no {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def seen(self, key: str, token: str) -> Repository | None:
        """A repository that the token may see; refuses otherwise."""
        found = self.hub.repositories.get(key)
        if found is None or (found.private and token not in (TOKEN, READ_ONLY)):
            self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        return found

    def create(self, content: Any, token: str) -> None:
        key = f"{content.get('type', 'model')}s/{content['organization']}/{content['name']}"
        status = 409 if key in self.hub.repositories else 200
        if status == 200:
            self.hub.create(key, content.get("visibility") == "private" or content.get("private", False))
        self.answer(status, {"url": f"{self.hub.endpoint}/{key.removeprefix('models/')}"})

    def validate(self, content: Any, token: str) -> None:
        wrong = "license: forbidden" in content["content"]
        said = {"errors": [{"message": "no such license"}] if wrong else [], "warnings": []}
        self.answer(400 if wrong else 200, said)

    def info(self, content: Any, token: str, key: str, revision: str | None) -> None:
        if (found := self.seen(key, token)) is None:
            return None
        if (at := found.at(revision or "main")) is None:
            return self.refuse(404, "RevisionNotFound")
        files = [{"rfilename": name, "size": len(data), "blobId": "0"} for name, data in at[1].items()]
        facts = {"id": key.partition("/")[2], "sha": at[0], "private": found.private, "gated": found.gated}
        return self.answer(200, {**facts, "siblings": files, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, content: Any, token: str, key: str, revision: str, folder: str | None) -> None:
        if (found := self.seen(key, token)) is None:
            return None
        at, top, deep = found.at(revision), f"{folder}/" if folder else "", "recursive=true" in self.path.lower()
        assert at is not None
        entries = {}
        for name, data in at[1].items():
            head, _, rest = name.removeprefix(top).partition("/")
            if name.startswith(top) and (deep or not rest):
                entries[name] = {"type": "file", "path": name, "size": len(data), "oid": object_id(name, data)}
            elif name.startswith(top):
                entries[top + head] = {"type": "directory", "path": top + head, "oid": "0" * 40, "size": 0}
        return self.answer(200, [*entries.values()]) if entries else self.refuse(404, "EntryNotFound")

    def branch(self, content: Any, token: str, key: str, name: str) -> None:
        found = self.hub.repositories[key]
        status = 409 if name in found.branches else 201
        found.branches.setdefault(name, found.branches["main"])
        self.answer(status, {})

    def preupload(self, content: Any, token: str, key: str, revision: str) -> None:
        at = self.hub.repositories[key].at(revision)
        assert at is not None
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": object_id(file["path"], at[1][file["path"]]) if file["path"] in at[1] else None,
            }
            for file in content["files"]
        ]
        self.answer(200, {"files": modes})

    def batch(self, content: Any, token: str, key: str) -> None:
        key = key if key.startswith("datasets/") else f"models/{key}"
        missing = [each for each in content["objects"] if each["oid"] not in self.hub.repositories[key].lfs]
        href = f"{self.hub.endpoint}/lfs/{key}"
        for each in missing:
            each["actions"] = {"upload": {"href": f"{href}/{each['oid']}?signature=hidden"}}
        self.answer(200, {"transfer": "basic", "objects": content["objects"]})

    def upload(self, content: Any, token: str, key: str, oid: str) -> None:
        if self.hub.uploads_left == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        if self.hub.uploads_left is not None:
            self.hub.uploads_left -= 1
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.repositories[key].lfs[oid] = content
        return self.answer(200, {})

    def commit(self, content: Any, token: str, key: str, revision: str) -> None:
        found = self.hub.repositories[key]
        at = found.at(revision)
        assert at is not None
        files = dict(at[1])
        for step in map(json.loads, content.splitlines()):
            value = step["value"]
            if step["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[value["path"]] = found.lfs[value["oid"]]
            elif step["key"] == "deletedFile":
                del files[value["path"]]
        sha = found.commit(revision, files)
        self.answer(200, {"commitUrl": f"{self.hub.endpoint}/{key}/commit/{sha}", "commitOid": sha})

    def resolve(self, content: Any, token: str, key: str, revision: str, file: str) -> None:
        key = key if key.startswith("datasets/") else f"models/{key}"
        if (found := self.seen(key, token)) is None:
            return None
        if found.gated:
            return self.refuse(403, "GatedRepo", "Access to this dataset is restricted")
        at = found.at(revision)
        if at is None or file not in at[1]:
            return self.refuse(404, "RevisionNotFound" if at is None else "EntryNotFound")
        body, facts = at[1][file], {"X_Repo_Commit": at[0], "ETag": f'"{object_id(file, at[1][file])}"'}
        if self.command == "GET" and file.endswith(LARGE) and self.hub.downloads_left is not None:
            self.hub.down = self.hub.downloads_left == 0
            self.hub.downloads_left -= 1
        if self.hub.down:  # cut in the middle
            self.answer(200, body[: len(body) // 2], **facts, Content_Length=str(len(body)))
            self.close_connection = True
            return None
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if first:
            facts["Content_Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return self.answer(206 if first else 200, body[first:], **facts)


def object_id(name: str, content: bytes) -> str:
    """How the Hub names a file's content: SHA-256 of a large one, else git's own hash."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


KEY = r"(?P<key>(?:datasets|models)/[^/]+/[^/]+)"
PLAIN = r"(?P<key>(?:datasets/)?[^/]+/[^/]+)"
"""How addresses of files name a repository: without `models/`."""
ROUTES = {
    r"POST /api/repos/create": "create",
    r"POST /api/validate-yaml": "validate",
    rf"GET /api/{KEY}(?:/revision/(?P<revision>.+))?": "info",
    rf"GET /api/{KEY}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?": "tree",
    rf"POST /api/{KEY}/branch/(?P<name>.+)": "branch",
    rf"POST /api/{KEY}/preupload/(?P<revision>.+)": "preupload",
    rf"POST /api/{KEY}/commit/(?P<revision>.+)": "commit",
    rf"POST /{PLAIN}\.git/info/lfs/objects/batch": "batch",
    rf"PUT /lfs/{KEY}/(?P<oid>\w+)": "upload",
    rf"(?:GET|HEAD) /{PLAIN}/resolve/(?P<revision>[^/]+)/(?P<file>.+)": "resolve",
}


@contextmanager
def serving() -> Iterator[Hub]:
    """A stand-in that answers at `hub.endpoint`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
