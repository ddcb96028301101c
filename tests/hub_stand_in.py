"""A stand-in for the Hugging Face Hub on loopback: its HTTP API as huggingface_hub speaks it, for reading and writing.

What is uploaded is really received: regular files in the commit's lines, large ones through the LFS batch, checked
against their hashes. `Hub` holds what a test looks at; nothing here is a mock of the client.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

TOKEN = "hf_" + "x" * 34
LARGE = 100_000
"""Files from so many bytes on go through LFS here (10 MB on the Hub)."""

ON_CUDA = {"ready": True, "device": {"kind": "cuda", "name": "Tesla T4", "precision": "fp16"}, "problem": None}


@dataclass
class Space:
    """The running side of a Space. `stages` are told one a question, the last one again and again."""

    hardware: str = "cpu-basic"
    sleep: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    paused: bool = False
    """Until it is restarted; a commit does not do that."""


@dataclass
class Hub:
    """What the stand-in holds: `files` ("owner/name/path" -> bytes), repositories by (type, id), commits, requests."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    private: dict[tuple[str, str], bool] = field(default_factory=dict)
    spaces: dict[str, Space] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The end of a path -> (status, message) that it is answered with."""
    coming: list[dict[str, Any]] = field(default_factory=lambda: [{"stage": "BUILDING"}, {"stage": "RUNNING"}])
    health: list[Any] = field(default_factory=lambda: [ON_CUDA])
    """What the Spaces answer at /health: an object, or a status. Told one a request, the last one again and again."""
    wheels: dict[str, list[str]] = field(default_factory=dict)
    """Names of torch's wheels by build, such as cu126: a package index like PyTorch's, at /whl."""
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization headers that the Spaces themselves were sent."""

    def of(self, repository: str) -> dict[str, bytes]:
        """A repository's files by path."""
        start = f"{repository}/"
        return {name.removeprefix(start): data for name, data in self.files.items() if name.startswith(start)}


class Handler(BaseHTTPRequestHandler):
    """One request. `self.server.hub` is the state."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def do_HEAD(self):
        self.route("HEAD")

    def do_GET(self):
        self.route("GET")

    def do_POST(self):
        self.route("POST")

    def do_PUT(self):
        self.route("PUT")

    def route(self, method: str):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{method} {path}")
        for end, (status, message) in self.hub.refuse.items():
            if path.endswith(end):
                return self.say({"error": message}, status, {"X-Error-Message": message})
        writes = method == "POST" and path != "api/validate-yaml"
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say({"error": "Invalid user token."}, 401)
        if path.startswith("host/"):
            return self.running(path.removeprefix("host/"))
        if path.startswith("whl/"):
            return self.index(path.removeprefix("whl/").removesuffix("/torch"))
        if path.startswith("lfs/"):
            return self.large(path.removeprefix("lfs/"))
        if path.endswith("/info/lfs/objects/batch"):
            return self.batch()
        if path.startswith("api/"):
            return self.api(method, path.removeprefix("api/"))
        return self.file(path, body=method == "GET")

    def say(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None):
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # Reading

    def file(self, path: str, *, body: bool):
        for kind in ("datasets/", "spaces/"):
            path = path.removeprefix(kind)
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        content = self.hub.files.get(f"{repository}/{name}")
        if content is None:
            return self.say(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": revision})
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.say(content, 200, {"X-Repo-Commit": revision, "ETag": etag})

    def info(self, kind: str, repository: str, revision: str):
        files = self.hub.of(repository)
        if not files and (kind, repository) not in self.hub.private:
            return self.say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
        newest = [one["oid"] for one in self.hub.commits if one["repository"] == repository] or ["a" * 40]
        sha = revision if len(revision) == 40 else newest[-1]
        private = self.hub.private.get((kind, repository), False)
        told = {"id": repository, "sha": sha, "siblings": siblings, "private": private}
        return self.say(told | ({"host": f"{self.hub.address}/host/{repository}"} if kind == "space" else {}))

    def tree(self, repository: str):
        rows = [
            {"type": "file", "path": name, "size": len(data), "oid": object_id(data)}
            for name, data in self.hub.of(repository).items()
        ]
        return self.say(rows)

    def index(self, build: str):
        rows = [f'<a href="/whl/{build}/{quote(name)}#sha256=0">{name}</a><br/>' for name in self.hub.wheels[build]]
        return self.say("\n".join(["<!DOCTYPE html>", *rows]).encode(), headers={"Content-Type": "text/html"})

    # Writing

    def api(self, method: str, path: str):
        parts = path.split("/")
        if path == "validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if path == "whoami-v2":
            return self.say({"type": "user", "name": "teacher", "auth": {"accessToken": {"role": "write"}}})
        if path == "repos/create":
            return self.create(json.loads(self.body))
        kind, repository, what = parts[0].removesuffix("s"), "/".join(parts[1:3]), "/".join(parts[3:])
        if method == "GET" and what.startswith("tree/"):
            return self.tree(repository)
        if method == "GET" and what.partition("/")[0] in ("", "revision"):
            return self.info(kind, repository, what.partition("/")[2])
        if (kind, repository) not in self.hub.private:
            return self.say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if what.startswith("preupload/"):
            return self.preupload(repository, json.loads(self.body))
        if what.startswith("commit/"):
            return self.commit(kind, repository)
        return self.space(method, self.hub.spaces[repository], what)

    def create(self, wanted: dict[str, Any]):
        repository = f"{wanted.get('organization') or 'teacher'}/{wanted['name']}"
        kind = wanted.get("type", "model")
        url = f"{self.hub.address}/{'' if kind == 'model' else kind + 's/'}{repository}"
        if (kind, repository) in self.hub.private:
            return self.say({"error": "You already created this repo", "url": url}, 409)
        self.hub.private[kind, repository] = bool(wanted.get("private"))
        if kind == "space":
            assert wanted["sdk"] == "gradio"
            self.hub.spaces[repository] = Space()
        self.hub.files[f"{repository}/.gitattributes"] = b""
        return self.say({"url": url, "id": repository})

    def preupload(self, repository: str, wanted: dict[str, Any]):
        files = self.hub.of(repository)
        rows = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                "shouldIgnore": False,
                "oid": object_id(files[file["path"]]) if file["path"] in files else None,
            }
            for file in wanted["files"]
        ]
        return self.say({"files": rows})

    def batch(self):
        objects = json.loads(self.body)["objects"]
        rows = []
        for one in objects:
            upload = {"href": f"{self.hub.address}/lfs/{one['oid']}", "header": {}}
            # What is there already gets no actions.
            rows.append(one if one["oid"] in self.hub.blobs else {**one, "actions": {"upload": upload}})
        content = {"transfer": "basic", "objects": rows}
        return self.say(content, headers={"Content-Type": "application/vnd.git-lfs+json"})

    def large(self, oid: str):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.say({"error": "the content is not what its hash says"}, 422)
        self.hub.blobs[oid] = self.body
        return self.say(b"")

    def commit(self, kind: str, repository: str):
        lines = [json.loads(line) for line in self.body.splitlines()]
        summary, changed = "", []
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                summary = value["summary"]
                continue
            name = f"{repository}/{value['path']}"
            changed.append(value["path"])
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                self.hub.files[name] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[name] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.hub.files[name]
        oid = hashlib.sha1(f"{len(self.hub.commits)}{self.body!r}".encode()).hexdigest()
        self.hub.commits.append({"repository": repository, "summary": summary, "changed": changed, "oid": oid})
        if kind == "space":
            self.hub.spaces[repository].stages = [{"sha": oid, **stage} for stage in self.hub.coming]
        where = f"{self.hub.address}/{'' if kind == 'model' else kind + 's/'}{repository}/commit/{oid}"
        return self.say({"success": True, "commitOid": oid, "commitUrl": where})

    # A Space at work

    def space(self, method: str, space: Space, what: str):
        given = json.loads(self.body) if self.body else {}
        if what == "variables":
            if method == "POST":
                space.variables[given["key"]] = given["value"]
            return self.say({key: {"value": value} for key, value in space.variables.items()})
        if what == "secrets":
            space.secrets[given["key"]] = given["value"]
            return self.say({})
        if what == "hardware":
            space.hardware, space.sleep = given["flavor"], given.get("sleepTimeSeconds", space.sleep)
        elif what == "sleeptime":
            space.sleep = given["seconds"]
        elif what == "restart":
            space.paused = False
        elif what != "runtime":
            return self.say({"error": f"no such question: {what}"}, 404)
        stages = space.stages
        stage = {"stage": "NO_APP_FILE"}
        if space.paused:
            stage = {"stage": "PAUSED"}
        elif stages:
            stage = stages.pop(0) if what == "runtime" and len(stages) > 1 else stages[0]
        hardware = {"current": space.hardware if stage["stage"] == "RUNNING" else None, "requested": space.hardware}
        return self.say({"hardware": hardware, "gcTimeout": space.sleep, "storage": None, **stage})

    def running(self, path: str):
        """What the Space's own program answers, at an address of its own; a private one is closed without a token."""
        repository, _, route = path.rpartition("/")
        token = self.headers.get("Authorization")
        self.hub.tokens.append(token)
        if route != "health" or (self.hub.private["space", repository] and token != f"Bearer {TOKEN}"):
            return self.say(b"<html>404</html>", 404, {"Content-Type": "text/html"})
        told = self.hub.health.pop(0) if len(self.hub.health) > 1 else self.hub.health[0]
        return self.say(b"<html>starting</html>", told) if isinstance(told, int) else self.say(told)

    def log_message(self, *_):
        pass


def object_id(content: bytes) -> str:
    """The hash that git gives a file, or LFS a large one."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def serve() -> tuple[ThreadingHTTPServer, Hub]:
    """A stand-in on a free port, and what it holds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(address=f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.hub
