"""The app where others can reach it: who may change runs, what a Space lends, what is said of both."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import re
import socket
import time
import urllib.request
from base64 import b64encode
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from conftest import app_on, no_worker, serious, shoot
from test_cuda import computed_here, until_ready

from trainer.errors import ArgumentError
from trainer.machine import access, device, hosting
from trainer.machine.access import Access, Refused, Rules, Visitor
from trainer.publish import bundled
from trainer.runs import recipes
from trainer.runs.store import Store, default_root
from trainer.ui.common import access as ui_access
from trainer.ui.common import arguments, uploads
from trainer.ui.common import lab as lab_module
from trainer.ui.common.lab import Lab
from trainer.ui.train import form as train_form

ROOT = Path(__file__).resolve().parent.parent
SPACE = {
    "SPACE_ID": "Teacher/lab",
    "SPACE_AUTHOR_NAME": "Teacher",
    "SYSTEM": "spaces",
    "SPACE_HOST": "teacher.hf.space",
}
SIGN_IN = {"OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "secret", "OAUTH_SCOPES": "openid profile"}
SIGN_IN |= {"OPENID_PROVIDER_URL": "http://127.0.0.1:9"}
PASSWORD = {"PEFT_LAB_PASSWORD": "für die Klasse"}


# Who may change runs


def apart(coroutine):
    """The coroutine's result, from a loop of its own: Playwright's runs in this thread."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def person(name: str, **more) -> Visitor:
    return Visitor(session="s", profile={"preferred_username": name, **more})


def org(role: str | None) -> list[dict]:
    return [{"preferred_username": "Teacher"} | ({"roleInOrg": role} if role else {})]


@pytest.mark.parametrize(
    ("environment", "visitor", "allowed"),
    [
        ({}, Visitor(), True),
        (PASSWORD, Visitor(), False),
        (SPACE, Visitor(), False),
        (SPACE, person("Teacher"), False),  # without hf_oauth nobody can have signed in
        (SPACE | SIGN_IN, Visitor(), False),
        (SPACE | SIGN_IN, person("teacher"), True),
        (SPACE | SIGN_IN, person("pupil"), False),
        (SPACE | SIGN_IN, person("pupil", orgs=org("write")), True),
        (SPACE | SIGN_IN, person("pupil", orgs=org("admin")), True),
        (SPACE | SIGN_IN, person("pupil", orgs=org(None)), False),  # a role that is not told is none
        (SPACE | SIGN_IN, person("pupil", orgs=org("read")), False),
        (SPACE | SIGN_IN, person("pupil", orgs=[{"preferred_username": "other"}]), False),
        ({"SPACE_ID": "Teacher/lab", "SYSTEM": "spaces"} | SIGN_IN, person("teacher"), True),
        (SPACE | SIGN_IN, Visitor(profile={"preferred_username": "Teacher"}, origin="https://teacher.hf.space"), True),
        (SPACE | SIGN_IN, Visitor(profile={"preferred_username": "Teacher"}, origin="https://evil.example"), False),
    ],
)
def test_who_may_change_runs(environment, visitor, allowed):
    assert Access(Rules.of(environment)).allows(visitor) is allowed


def test_a_refusal_names_every_way_in():
    sentences = {
        str(Rules.of(environment).refusal())
        for environment in (PASSWORD, SPACE, SPACE | SIGN_IN, SPACE | SIGN_IN | PASSWORD)
    }
    assert "argument password" in str(Rules.of(SPACE | SIGN_IN | PASSWORD).refusal(program=True))
    assert len(sentences) == 4
    assert all(text.startswith("Expected ") and "\n" not in text for text in sentences)
    assert PASSWORD["PEFT_LAB_PASSWORD"] not in repr(Rules.of(PASSWORD))


def test_the_password_opens_a_browser_until_it_is_locked_or_half_a_day_is_over():
    now = [0.0]
    gate = Access(Rules.of(PASSWORD), clock=lambda: now[0])
    first, reloaded, stranger = (Visitor(session=name, address=name) for name in "abc")
    with pytest.raises(Refused, match="another one"):
        gate.unlock(first, "für die klasse")
    grant = gate.unlock(first, "für die Klasse")
    assert gate.allows(first)
    assert not gate.allows(stranger)
    assert not gate.recognise(stranger, grant + "x")
    assert not gate.recognise(stranger, None)
    assert gate.recognise(reloaded, grant)
    assert gate.allows(reloaded)
    assert not gate.allows(Visitor())
    now[0] = access.HOURS * 3600 + 1
    assert not gate.allows(reloaded)
    grant = gate.unlock(first, "für die Klasse")
    gate.lock(grant)
    assert not gate.allows(first)


def test_guesses_are_few():
    now = [0.0]
    gate = Access(Rules.of(PASSWORD), clock=lambda: now[0])
    guesser, other = Visitor(session="a", address="1"), Visitor(session="b", address="2")
    for _ in range(access.GUESSES):
        with pytest.raises(Refused, match="another one"):
            gate.allows(guesser, "guess")
    with pytest.raises(Refused, match="wait a minute"):
        gate.unlock(guesser, "für die Klasse")
    assert gate.allows(other, "für die Klasse")
    now[0] = access.SECONDS
    assert gate.allows(guesser, "für die Klasse")
    for i in range(access.GUESSES_OF_ALL):
        with pytest.raises(Refused):
            gate.allows(Visitor(address=f"many{i}"), "guess")
    with pytest.raises(Refused, match="wait a minute"):
        gate.allows(other, "für die Klasse")


def test_on_a_space_a_few_wrong_passwords_lock_nobody_out():
    """All come from its proxy's address: the right one passes beside many wrong ones, until no guess is looked at."""
    now = [0.0]
    gate = Access(Rules.of(SPACE | PASSWORD), clock=lambda: now[0])
    for _ in range(access.GUESSES_OF_ALL):
        assert gate.allows(Visitor(session="teacher", address="proxy"), "für die Klasse")
        with pytest.raises(Refused, match="another one"):
            gate.allows(Visitor(address="proxy"), "guess")
    with pytest.raises(Refused, match=f"at most {access.GUESSES_OF_ALL} wrong passwords a minute"):
        gate.unlock(Visitor(session="teacher", address="proxy"), "für die Klasse")
    now[0] = access.SECONDS
    assert gate.unlock(Visitor(session="teacher", address="proxy"), "für die Klasse")


@pytest.mark.parametrize("given", [1, True, ["für die Klasse"], {"a": 1}, "\ud800", "\x00"])
def test_anything_but_the_password_is_a_wrong_one(given):
    with pytest.raises(Refused, match="another one"):
        Access(Rules.of(PASSWORD)).require(Visitor(), given, program=True)


# Every listener of the app

OPEN = {
    # Looking
    "device_now", "planned", "simulated", "fill", "summary", "restore", "refresh", "picked", "open_run", "open_chosen",
    "close_run", "close_gone", "ask_to_delete", "as_zip", "open_file", "preview_html", "draw", "open_page", "conclude",
    "make_report", "choose_label", "choose_label_columns",
    "redraw_table", "redraw_scatter", "redraw_curves", "redraw_cards", "redraw_sentences", "compare_api", "runs_api",
    "pressed", "test_differences",
    # Asking
    "predict", "predict_waiting", "recalibrate", "explain", "explain_one", "toggle", "reset", "make_link", "suit",
    "offer", "change_task", "arrive", "pick", "predict_api", "missing_html", "damaged_html", "opened", "predict_file",
    "stop", "left",
    # The way in
    "standing", "unlock", "lock",
    # The lesson, but for its training
    "show", "redraw", "clear", "keep_guesses", "look_at", "chosen", "step_on", "show_step", "draw_step", "open_live",
    # Only in the page
    "<lambda>",
}  # fmt: skip
"""Handlers that change nothing in the store. Another one is guarded, or put here by somebody who thought about it."""
GUARDED = {
    "submit", "launch", "again", "train_again", "keep", "cancel", "resume", "rename", "delete", "load_zips",
    "load_folder", "adopt", "remove", "bring",
}  # fmt: skip
ENDPOINTS = {"launch_api", "cancel_api"}
CHANGES = {
    "launch", "retrain", "cancel", "resume", "adopt", "create", "update", "delete", "store_file", "delete_file",
    "load_folder", "append", "bring",
}  # fmt: skip
"""Names of what changes a store, in `jobs`, `launching`, `store`, `archive` and `adoption`."""


def inner(function):
    """The handler inside what is wrapped around it for Gradio."""
    function = getattr(function, "guards", getattr(function, "isolates", function))
    while isinstance(function, partial):
        function = function.args[0] if function.func is train_form._call else function.func
    return function


def closed_lab(store: Store) -> Lab:
    made = Lab.open(store)
    made.access = Access(Rules.of(SPACE | PASSWORD))
    return made


def request(session: str = "stranger", **headers: str) -> SimpleNamespace:
    scope = SimpleNamespace(scope={})
    return SimpleNamespace(
        session_hash=session, request=scope, client=SimpleNamespace(host="10.0.0.1"), headers=headers
    )


def listeners(lab: Lab):
    import app

    return [listener.fn for listener in app.build_app(lab).fns.values() if listener.fn is not None]


def test_every_listener_is_open_or_guarded(own_store):
    functions = listeners(closed_lab(own_store))
    guarded = {inner(f).__name__ for f in functions if hasattr(f, "guards")}
    free = {inner(f).__name__ for f in functions if not hasattr(f, "guards")}
    assert guarded == GUARDED
    assert free - OPEN == ENDPOINTS, "a new handler: guard it, or list it as open"


def test_no_open_handler_changes_the_store():
    """By what the handlers' own code calls: a new call in one that is listed as open is found here."""
    for path in (ROOT / "trainer" / "ui").rglob("*.py"):
        if path.name in ("access.py", "charts.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or node.name not in OPEN:
                continue
            for call in (n for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)):
                owner = ast.unparse(call.func.value)
                if owner.split(".")[-1] in ("jobs", "store", "archive", "adoption", "launching"):
                    assert call.func.attr not in CHANGES, f"{path.name}: {node.name} calls {owner}.{call.func.attr}"


def test_a_stranger_is_refused_by_every_guarded_listener(own_store, monkeypatch):
    """The real wrappers: refused in one sentence, what was typed stays, and the handler itself is never reached."""
    lab = closed_lab(own_store)
    functions = [f for f in listeners(lab) if hasattr(f, "guards")]
    for function in functions:
        refusal = function(request(), "one", "two")
        # One output at most: what else the listener could change stays as it is.
        (sentence,) = refusal.values() if isinstance(refusal, dict) else (refusal,)
        assert "Expected the password" in sentence
    assert own_store.list() == []
    grant = lab.access.unlock(Visitor(session="teacher"), "für die Klasse")
    assert grant
    load = next(f for f in functions if inner(f).__name__ == "load_folder")
    assert "Type the path" in load(request("teacher"), "")


def test_nobody_is_asked_on_ones_own_machine(own_store):
    lab = Lab.open(own_store)
    load = next(f for f in listeners(lab) if inner(f).__name__ == "load_folder")
    assert "Type the path" in load(request(), "")


# What is shown to the world


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/peft-lab/.files/ab12/mine.csv", "mine.csv"),
        (
            "got '/home/user/x y.csv'; see https://hf.co/a/b/c and owner/name",
            "got 'x y.csv'; see https://hf.co/a/b/c and owner/name",
        ),
        ("File \"/home/user/app/trainer/jobs/queue.py\", line 3", 'File "queue.py", line 3'),
        ("1/2 of a/b, sst2", "1/2 of a/b, sst2"),
    ],
)  # fmt: skip
def test_folders_are_not_shown_to_the_world(own_store, text, shown):
    lab = closed_lab(own_store)
    assert lab.shown(text) == shown
    assert Lab.open(own_store).shown(text) == text


# What strangers may send


@pytest.fixture
def small(own_store, monkeypatch):
    """`uploads.UploadLimits` with limits of some bytes, before an app that answers what it got: (it, a client)."""
    import httpx

    async def app(scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    monkeypatch.setattr(uploads, "MOST", 1_000_000)
    monkeypatch.setattr(uploads, "MOST_OF_ALL", 2_500_000)
    made = uploads.UploadLimits(app, closed_lab(own_store))

    def ask(path: str, content=b"", **headers: str) -> httpx.Response:
        async def answered():
            transport = httpx.ASGITransport(app=made)
            async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
                return await client.post(path, content=content, headers=headers)

        return apart(answered())

    return made, ask


def test_what_is_small_arrives_whole_and_what_is_not_is_refused(small):
    made, ask = small

    async def in_parts():
        for _ in range(11):
            yield bytes(100_000)

    for body in (b"", b"{}", bytes(1 << 18), bytes(range(250)) * 4_000):
        got = ask("/gradio_api/queue/join", body)
        assert (got.status_code, got.content) == (200, body)
    for body in (bytes(1_000_001), in_parts()):
        got = ask("/gradio_api/queue/join", body)
        assert got.status_code == 413
        assert got.text.startswith("Expected at most 1 MB from somebody who may not change runs, got more; send less")
    grant = made.lab.access.unlock(Visitor(session="teacher"), "für die Klasse")
    assert ask("/gradio_api/upload", bytes(1_000_001), cookie=f"{ui_access.COOKIE}={grant}").status_code == 200
    assert ask("/gradio_api/upload", bytes(1_000_001), cookie=f"{ui_access.COOKIE}={grant}x").status_code == 413
    made.lab.access.lock(grant)
    assert ask("/gradio_api/upload", bytes(1_000_001), cookie=f"{ui_access.COOKIE}={grant}").status_code == 413


def test_all_strangers_together_upload_so_much_an_hour(small, monkeypatch):
    _, ask = small
    now, kind = time.monotonic(), {"content-type": "multipart/form-data; boundary=x"}
    answers = [ask("/gradio_api/upload", bytes(900_000), **kind) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 413]
    assert "from all visitors together, got more; try again in an hour" in answers[-1].text
    assert ask("/gradio_api/queue/join", bytes(900_000)).status_code == 200
    monkeypatch.setattr(time, "monotonic", lambda: now + uploads.SECONDS + 60)
    assert ask("/gradio_api/upload", bytes(900_000), **kind).status_code == 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_address_in_the_place_of_a_file_is_refused(small, encoding):
    """Gradio fetches what a file's path names, and knows no limit for it."""
    _, ask = small
    for path, status in (("https://huggingface.co/x", 400), ("http://127.0.0.1/x", 400), ("/tmp/gradio/a.csv", 200)):
        body = {"data": [[{"path": path, "url": "https://lab/file=x", "meta": {"_type": "gradio.FileData"}}]]}
        got = ask("/gradio_api/queue/join", json.dumps(body).encode(encoding))
        assert got.status_code == status, got.text
    assert ask("/gradio_api/queue/join", b"[" * 100_000).status_code == 200, "the app itself says what is wrong"


# A Space's volume and hardware


@pytest.fixture
def volume(tmp_path, monkeypatch):
    """A folder in the place of a Space's volume."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(hosting, "VOLUME", folder)
    monkeypatch.setattr(hosting, "mounted", Path.is_dir)
    monkeypatch.delenv("ADAPTERS_STORE")
    hosting.why_unfit.cache_clear()
    yield folder
    hosting.why_unfit.cache_clear()


def test_a_space_keeps_its_runs_on_its_volume(volume, monkeypatch):
    assert default_root() == ROOT / "adapters_store"
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert default_root() == volume / "peft-lab"
    assert hosting.about_runs(default_root()) == ""
    assert list(volume.iterdir()) == [], "the probe cleans up"
    monkeypatch.setenv("ADAPTERS_STORE", "/elsewhere")
    assert default_root() == Path("/elsewhere")


def test_a_space_without_a_volume_says_so(volume, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "a/b")
    volume.rmdir()
    assert default_root() == ROOT / "adapters_store"
    assert "this Space has no volume" in hosting.about_runs(default_root())


def test_a_folder_of_the_containers_own_is_no_volume(volume, monkeypatch):
    monkeypatch.undo()
    assert hosting.mounted(Path("/proc") if Path("/proc").is_dir() else Path("/"))
    assert not hosting.mounted(volume)
    monkeypatch.setattr(hosting, "VOLUME", volume)
    monkeypatch.delenv("ADAPTERS_STORE", raising=False)
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert default_root() == ROOT / "adapters_store"
    assert "this Space has no volume" in hosting.about_runs(volume / "peft-lab")


def test_a_volume_that_cannot_lock_is_not_used(volume, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "a/b")

    def none(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.replace", none)
    assert default_root() == ROOT / "adapters_store"
    assert "cannot hold runs (Operation not supported)" in hosting.about_runs(default_root())


def test_zero_gpu_computes_on_the_cpu_and_says_why(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert "t4-small" in hosting.about_hardware("cpu")
    assert hosting.about_hardware("cuda") == ""


def test_a_package_through_which_code_could_come_is_named(tmp_path, monkeypatch):
    assert hosting.about_kernels() == ""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert "The package kernels is installed" in hosting.about_kernels()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    found = device.detect()
    assert found.kind == "cpu"
    assert "ZeroGPU lends a GPU for seconds" in lab_module.describe_device(found)


def test_bundled_runs_come_to_a_store_elsewhere_once(suite, tmp_path, monkeypatch):
    store, _ = suite
    monkeypatch.setattr(bundled, "BUNDLED", store.root)
    there = Store(tmp_path / "volume")
    ids = {run.id for run in store.list()}
    assert bundled.bring(there.root) == len(ids)
    assert {run.id for run in there.list()} == ids
    gone = next(run for run in there.list() if not run.recipe.parents)
    there.delete(gone.id)
    assert bundled.bring(there.root) == 0
    assert gone.id not in {run.id for run in there.list()}
    assert bundled.bring(store.root) == 0


@pytest.mark.parametrize("wrong", ["a file in its place", "a record that is none"])
def test_a_store_that_cannot_take_the_bundled_runs_is_a_sentence(suite, tmp_path, monkeypatch, capsys, wrong):
    """As on a full or read-only disk: the app starts all the same."""
    monkeypatch.setattr(bundled, "BUNDLED", suite[0].root)
    root = tmp_path / "volume" / "store"
    if wrong.startswith("a file"):
        root.parent.write_text("no folder")
    else:
        (root / ".bundled").mkdir(parents=True)
    assert bundled.bring(root) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"The runs that come with the program are not all in {root}: ")
    assert len(said.splitlines()) == 1


# The served page


@pytest.fixture(scope="module")
def classroom(suite, tmp_path_factory):
    """The app with a password, as on a classroom's server, on a copy of a trained suite: (address, store)."""
    import shutil

    root = tmp_path_factory.mktemp("classroom") / "store"
    shutil.copytree(suite[0].root, root, ignore=shutil.ignore_patterns(".*"))
    drop = root.parent / "tmp"
    drop.mkdir()
    with app_on(root, TMPDIR=str(drop), **PASSWORD) as found:
        yield found


def called_by_index(address: str, index: int, data: list, session: str) -> dict:
    """What the page's own way to call a handler answers: by its number, whether or not it has a public name."""
    import httpx

    body = {"data": data, "fn_index": index, "session_hash": session}
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=60) as client:
        joined = client.post("/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        with client.stream("GET", "/queue/data", params={"session_hash": session}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    return message["output"]
    raise AssertionError("no answer")


@pytest.fixture(scope="module")
def handlers(classroom) -> dict[str, list]:
    """The served page's handlers by name: it is laid out as one that is built here."""
    import app

    address, store = classroom
    lab = Lab.open(store)
    lab.access = Access(Rules.of(PASSWORD))
    built = app.build_app(lab).fns
    found: dict[str, list] = {}
    for one in built.values():
        if one.fn is not None:
            found.setdefault(inner(one.fn).__name__, []).append(one)
    with urllib.request.urlopen(f"{address}/config") as config:
        assert [one["id"] for one in json.load(config)["dependencies"]] == list(built)
    return found


def test_a_stranger_who_calls_by_number_is_refused(classroom, handlers, own_store):
    """Every guarded handler over HTTP; the same call does something once the password is given."""
    address, store = classroom
    before = {run.id: run.as_json() for run in store.list()}
    for name in GUARDED:
        for one in handlers[name]:
            nothing = [[] if isinstance(part, gr.CheckboxGroup) else None for part in one.inputs]
            answer = called_by_index(address, one._id, nothing, "stranger")
            assert "Expected the password of this app, got none" in str(answer["data"][0]), (name, answer)
    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    own_store.update(run.id, state="cancelled", error="Cancelled on request.")
    load = handlers["load_folder"][0]._id
    assert "Expected the password" in called_by_index(address, load, [str(own_store.root)], "stranger")["data"][0]
    assert {run.id: run.as_json() for run in store.list()} == before
    called_by_index(address, handlers["unlock"][0]._id, [PASSWORD["PEFT_LAB_PASSWORD"]], "teacher")
    assert "1 run loaded" in called_by_index(address, load, [str(own_store.root)], "teacher")["data"][0]
    store.delete(run.id)
    assert {run.id: run.as_json() for run in store.list()} == before


def test_a_stranger_uploads_little(classroom, handlers):
    """Over HTTP, told beforehand or in parts; what is refused or breaks off leaves no file behind."""
    import httpx

    address, store = classroom
    drop, large = store.root.parent / "tmp", bytes(uploads.MOST + 1)

    def upload(content: bytes, **more) -> httpx.Response:
        return httpx.post(f"{address}/gradio_api/upload", files={"files": ("mine.csv", content)}, timeout=60, **more)

    def in_parts():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n'
        for _ in range(11):
            yield bytes(1_000_000)
        yield b"\r\n--x--\r\n"

    kind = {"content-type": "multipart/form-data; boundary=x"}
    whole = httpx.post(f"{address}/gradio_api/upload", content=in_parts(), headers=kind, timeout=60)
    for refused in (upload(large), whole):
        assert refused.status_code == 413
        assert refused.text.startswith("Expected at most 10 MB from somebody who may not change runs, got more;")
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as broken:
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n"
        broken.sendall(
            f"{head}Content-Type: {kind['content-type']}\r\n\r\n".encode() + next(in_parts()) + large[:4_000_000]
        )
    time.sleep(1)
    assert [path for path in drop.rglob("*") if path.is_file() and path.stat().st_size > 1_000_000] == []
    (kept,) = upload(b"text\nthe film is warm\n").json()
    assert Path(kept).read_bytes() == b"text\nthe film is warm\n"
    assert Path(kept).is_relative_to(drop)
    opened = called_by_index(address, handlers["unlock"][0]._id, [PASSWORD["PEFT_LAB_PASSWORD"]], "teacher")
    grant = opened["data"][-1]
    (kept,) = upload(large, headers={"cookie": f"{ui_access.COOKIE}={grant}"}).json()
    assert Path(kept).stat().st_size == len(large)


@pytest.fixture(scope="module")
def client(classroom):
    """A program that asks the classroom's app."""
    from gradio_client import Client

    return Client(classroom[0], verbose=False)


def test_a_program_gives_the_password(classroom, client):
    _, store = classroom
    before = {run.id for run in store.list()}
    for given in ((), ("wrong",)):
        with pytest.raises(Exception, match="Expected the password"):
            client.predict(["lora"], "movies", "minilm", {"epochs": 1}, *given, api_name="/launch")
        with pytest.raises(Exception, match="Expected the password"):
            client.predict(sorted(before)[0], *given, api_name="/cancel")
    assert {run.id for run in store.list()} == before
    asked = ["lora"], "movies", "minilm", {"epochs": 100}, "für die Klasse"
    with no_worker(store):
        (launched,) = client.predict(*asked, api_name="/launch")
        assert client.predict(launched, "für die Klasse", api_name="/cancel") == "cancelled"
    store.delete(launched)


def test_public_endpoints_name_no_folder(classroom, client):
    _, store = classroom
    answers = [client.predict(api_name=name) for name in ("/runs", "/compare")]
    answers.append(client.predict("the film is warm", None, api_name="/predict"))
    assert all(len(answer) >= 5 for answer in answers)
    text = json.dumps(answers)
    with pytest.raises(Exception, match="Expected a run's id") as refused:
        client.predict("the film is warm", ["x" * 300], api_name="/predict")
    text += str(refused.value)
    assert "tiny.csv" in text
    assert not re.search(r'"[^"]*/(tmp|home|root|data)/', text)
    assert str(store.root) not in text


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("/launch", (None, "movies", "minilm", {}), "a list of texts as methods, got None"),
        ("/launch", ("lora", "movies", "minilm", {}), "a list of texts as methods, got 'lora'"),
        ("/launch", ([["lora"]], "movies", "minilm", {}), r"text as methods, got \['lora'\]"),
        ("/launch", (["lora"], 5, "minilm", {}), "text as task, got 5"),
        ("/launch", (["lora"], "movies", None, {}), "text as backbone, got None"),
        ("/launch", (["lora"], "movies", "x" * 300, {}), "Expected a backbone|File name too long"),
        ("/launch", (["lora"], "movies", "minilm", "x"), "an object with settings as settings, got 'x'"),
        ("/launch", (["lora"], "movies", "minilm", {"options": 5}), "options: expected a valid dictionary, got 5"),
        ("/launch", (["lora"], "movies", "minilm", {"methods_": 1}), "methods_: expected as an argument of its own"),
        ("/launch", (["lora"], "movies", "minilm", {"seeds": list(range(21))}), "at most 20 seeds at a time, got 21"),
        ("/cancel", (7,), "text as run_id, got 7"),
        ("/cancel", ("x" * 300,), "Expected a run's id"),
        ("/predict", (None, None), "text as text, got None"),
        ("/predict", (5, None), "text as text, got 5"),
        ("/predict", ("a film", "lora"), "a list of texts as runs, got 'lora'"),
        ("/predict", ("a film", [1]), "text as runs, got 1"),
    ],
)
def test_what_is_of_the_wrong_kind_is_one_sentence(classroom, client, name, given, said):
    _, store = classroom
    before = len(store.list())
    given = given if name == "/predict" else (*given, PASSWORD["PEFT_LAB_PASSWORD"])
    with pytest.raises(Exception, match=said) as refused:
        client.predict(*given, api_name=name)
    assert "Traceback" not in str(refused.value)
    assert len(store.list()) == before


def test_half_a_character_is_refused_in_a_sentence():
    for wrong in ("\ud800", "a\udfff"):
        with pytest.raises(ArgumentError, match="whole characters in text") as refused:
            arguments.text("text", wrong)
        str(refused.value).encode()
    assert arguments.text("text", "😀") == "😀"


def test_a_classroom_asks_for_the_password_once(classroom, open_page):
    from playwright.sync_api import expect

    address, store = classroom
    pages = open_page(f"{address}/?tab=train")
    page = next(pages)
    page.get_by_text("Looking, comparing and predicting are open to everybody.").wait_for()
    page.get_by_placeholder("none", exact=True).fill("typed by hand")
    before = len(store.list())
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("Expected the password of this app, got none").wait_for()
    expect(page.get_by_placeholder("none", exact=True)).to_have_value("typed by hand")
    assert len(store.list()) == before
    shoot(page, "space-classroom-locked")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Unlock").click()
    page.get_by_text("got another one; type it again").wait_for()
    assert serious(page) == []
    page.get_by_label("Password").fill("für die Klasse")
    page.get_by_label("Password").press("Enter")
    page.get_by_text("You may train and change runs here.").wait_for()
    expect(page.get_by_label("Password")).to_be_hidden()
    page.reload()
    page.get_by_text("You may train and change runs here.").wait_for()
    expect(page.get_by_label("Password")).to_be_hidden()
    page.locator(".lab-run-name").first.click()
    expect(page.get_by_label("Name", exact=True).last).to_be_editable()
    page.get_by_label("Name", exact=True).last.fill("renamed in class")
    page.get_by_role("button", name="Rename", exact=True).click()
    page.get_by_text("The run is called renamed in class").wait_for()
    shoot(page, "space-classroom-open")
    given = {one["name"]: one["value"] for one in page.context.cookies()}
    assert given.get(ui_access.COOKIE), "uploads are known by it"
    page.get_by_role("button", name="Lock again").click()
    page.get_by_text("Looking, comparing and predicting are open to everybody.").wait_for()
    page.wait_for_function(f"!document.cookie.includes('{ui_access.COOKIE}')")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete it").click()
    page.get_by_text("Expected the password of this app, got none").wait_for()
    assert len(store.list()) == before
    next(pages, None)


def session_cookie(username: str, *, seconds: float = 3600) -> str:
    """The cookie that Gradio's sign-in leaves in a browser, signed as a Space signs it."""
    import itsdangerous as signing

    key = hashlib.sha256((SIGN_IN["OAUTH_CLIENT_SECRET"] + "-v4").encode()).hexdigest()
    profile = {"sub": "1", "name": username, "preferred_username": username, "profile": "", "picture": ""}
    content = {"oauth_info": {"userinfo": profile, "expires_at": time.time() + seconds, "access_token": "t"}}
    signed = signing.TimestampSigner(key).sign(b64encode(json.dumps(content).encode())).decode()
    return f"session={signed}"


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """The app as a Space sees itself, with Gradio's own sign-in: (address, store)."""
    # The app must answer at this machine's address, not at the Space's.
    environment = {name: value for name, value in (SPACE | SIGN_IN).items() if name != "SPACE_HOST"}
    environment |= {"GRADIO_SSR_MODE": "true"}  # as a Space asks Gradio to serve
    with app_on(tmp_path_factory.mktemp("space") / "store", **environment, GRADIO_SERVER_NAME="127.0.0.1") as found:
        yield found


@pytest.mark.parametrize("app", ["classroom", "space"])
def test_health_says_what_the_app_computes_on(app, request):
    """To everybody."""
    assert until_ready(request.getfixturevalue(app)[0]) == computed_here()


def test_the_owner_of_a_space_launches_and_nobody_else(space):
    from gradio_client import Client

    address, store = space
    asked, bundled = (["lora"], "movies", "minilm", {"epochs": 100}), len(store.list())
    for cookie in (None, session_cookie("pupil"), session_cookie("Teacher", seconds=-1), "session=forged"):
        client = Client(address, verbose=False, headers={"cookie": cookie} if cookie else None)
        with pytest.raises(Exception, match="Expected the owner of this Space"):
            client.predict(*asked, api_name="/launch")
    assert len(store.list()) == bundled
    owner = Client(address, verbose=False, headers={"cookie": session_cookie("Teacher")})
    with no_worker(store):
        (launched,) = owner.predict(*asked, api_name="/launch")
        assert owner.predict(launched, api_name="/cancel") == "cancelled"


def test_the_owner_of_a_space_uploads_much_and_nobody_else(space):
    """The sign-in's cookie comes with an upload, and is read before the body is."""
    import httpx

    for cookie, status in ((session_cookie("Teacher"), 200), (session_cookie("pupil"), 413), ("session=forged", 413)):
        files = {"files": ("mine.csv", bytes(uploads.MOST + 1))}
        got = httpx.post(f"{space[0]}/gradio_api/upload", files=files, headers={"cookie": cookie}, timeout=60)
        assert got.status_code == status, got.text


def test_the_owner_signed_in_trains_on_the_page(space, browser):
    """With the cookie that Gradio's sign-in leaves: it must reach the handlers through the page's own requests."""
    address, store = space
    before = len(store.list())
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    name, _, value = session_cookie("Teacher").partition("=")
    context.add_cookies([{"name": name, "value": value, "url": address}])
    page = context.new_page()
    page.goto(f"{address}/?tab=train")
    page.get_by_text("You may train and change runs here.").wait_for()
    page.get_by_role("button", name="Sign out (Teacher)").wait_for()
    shoot(page, "space-owner")
    for method in ("Full fine-tuning", "QLoRA (4-bit)", "Adapter", "AdapterFusion"):
        page.get_by_label(method, exact=True).uncheck()
    from trainer.jobs import queue as jobs

    with no_worker(store):
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_text("1 run queued").wait_for()
        assert len(store.list()) == before + 1
        context.close()
        jobs.cancel(store, store.list()[-1].id)


def test_a_space_shows_its_sign_in_and_that_runs_are_lost(space, browser):
    address, _ = space
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(f"{address}/?tab=train")
    page.get_by_text("Runs are lost when this Space restarts").wait_for()
    page.get_by_role("button", name="Sign in with Hugging Face").wait_for()
    page.get_by_text("To train, load, rename, cancel or delete runs, sign in as the owner of this Space.").wait_for()
    assert serious(page) == []
    shoot(page, "space-stranger")
    context.close()
