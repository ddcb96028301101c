"""The app where others can reach it: who may change runs, what a Space lends, what is said of both."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import time
from base64 import b64encode
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import app_on, serious, shoot

from trainer import access, bundled, device, hosting
from trainer.access import Access, Refused, Rules, Visitor
from trainer.store import Store, default_root
from trainer.ui import lab as lab_module
from trainer.ui import train_form
from trainer.ui.lab import Lab

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
        (SPACE | SIGN_IN, person("pupil", orgs=org(None)), True),
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


# Every listener of the app

OPEN = {
    # Looking
    "device_now", "planned", "fill", "summary", "restore", "refresh", "tail", "picked", "open_run", "ask_to_delete",
    "as_zip", "open_file", "preview_html", "draw", "redraw_unit", "redraw_scatter", "redraw_curves", "redraw_sentences",
    "compare_api", "runs_api", "pressed",
    # Asking
    "ask", "ask_linked", "explain", "toggle", "reset", "make_link", "suit", "offer", "arrive", "pick", "predict_api",
    "missing_html", "opened", "predict_file", "stop", "left",
    # The way in
    "standing", "unlock", "lock",
    # The lesson, but for its training
    "show", "redraw", "clear", "look_at", "chosen", "step_on", "show_step", "draw_step", "_to_live",
    # Only in the page
    "<lambda>",
}  # fmt: skip
"""Handlers that change nothing in the store. Another one is guarded, or put here by somebody who thought about it."""
GUARDED = {
    "submit", "launch", "again", "train_again", "keep", "cancel", "resume", "rename", "delete", "load_zips",
    "load_folder", "adopt",
}  # fmt: skip
ENDPOINTS = {"launch_api", "cancel_api"}
CHANGES = {
    "launch", "again", "cancel", "resume", "adopt", "create", "update", "delete", "keep_file", "load_folder", "append",
}  # fmt: skip
"""Names of what changes a store, in `jobs`, `store`, `archive` and `adoption`."""


def inner(function):
    """The handler inside what is wrapped around it for Gradio."""
    function = getattr(function, "guards", function)
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
    for path in (ROOT / "trainer" / "ui").glob("*.py"):
        if path.name in ("access.py", "charts.py"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or node.name not in OPEN:
                continue
            for call in (n for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)):
                owner = ast.unparse(call.func.value)
                if owner.split(".")[-1] in ("jobs", "store", "archive", "adoption"):
                    assert call.func.attr not in CHANGES, f"{path.name}: {node.name} calls {owner}.{call.func.attr}"


def test_a_stranger_is_refused_by_every_guarded_listener(own_store, monkeypatch):
    """The real wrappers: refused in one sentence, what was typed stays, and the handler itself is never reached."""
    lab = closed_lab(own_store)
    functions = [f for f in listeners(lab) if hasattr(f, "guards")]
    for function in functions:
        said = function(request(), "one", "two")
        said, *rest = said if isinstance(said, tuple) else (said,)
        assert "Expected the password" in said
        assert all(part == {"__type__": "update"} for part in rest)
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
        ("got '/home/user/x y.csv'; see https://hf.co/a/b/c and owner/name", None),
        ("File \"/home/user/app/trainer/jobs.py\", line 3", 'File "jobs.py", line 3'),
        ("1/2 of a/b, sst2", "1/2 of a/b, sst2"),
    ],
)  # fmt: skip
def test_folders_are_not_shown_to_the_world(own_store, text, shown):
    lab = closed_lab(own_store)
    seen = lab.shown(text)
    assert seen == (shown if shown is not None else seen)
    assert "/home" not in seen
    assert "/data" not in seen
    if "https" in text:
        assert "https://hf.co/a/b/c" in seen
        assert "owner/name" in seen
    assert Lab.open(own_store).shown(text) == text


# A Space's volume and hardware


@pytest.fixture
def volume(tmp_path, monkeypatch):
    """A folder in the place of a Space's volume."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(hosting, "VOLUME", folder)
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


# The served page


@pytest.fixture(scope="module")
def classroom(suite, tmp_path_factory):
    """The app with a password, as on a classroom's server, on a copy of a trained suite: (address, store)."""
    import shutil

    root = tmp_path_factory.mktemp("classroom") / "store"
    shutil.copytree(suite[0].root, root, ignore=shutil.ignore_patterns(".*"))
    with app_on(root, **PASSWORD) as found:
        yield found


def test_a_program_gives_the_password(classroom):
    from gradio_client import Client

    address, store = classroom
    client = Client(address, verbose=False)
    before = {run.id for run in store.list()}
    for given in ((), ("wrong",)):
        with pytest.raises(Exception, match="Expected the password"):
            client.predict(["lora"], "movies", "minilm", {"epochs": 1}, *given, api_name="/launch")
        with pytest.raises(Exception, match="Expected the password"):
            client.predict(sorted(before)[0], *given, api_name="/cancel")
    assert {run.id for run in store.list()} == before
    (launched,) = client.predict(["lora"], "movies", "minilm", {"epochs": 100}, "für die Klasse", api_name="/launch")
    assert client.predict(launched, "für die Klasse", api_name="/cancel") in ("queued", "running", "cancelled")
    end = time.monotonic() + 60
    while store.load(launched).state != "cancelled":
        assert time.monotonic() < end
        time.sleep(0.2)
    store.delete(launched)


def test_public_endpoints_name_no_folder(classroom):
    from gradio_client import Client

    address, store = classroom
    client = Client(address, verbose=False)
    answers = [client.predict(api_name=name) for name in ("/runs", "/compare")]
    answers.append(client.predict("the film is warm", None, api_name="/predict"))
    assert all(len(answer) >= 5 for answer in answers)
    text = json.dumps(answers)
    assert "tiny.csv" in text
    assert not re.search(r'"[^"]*/(tmp|home|root|data)/', text)
    assert str(store.root) not in text


def test_a_classroom_asks_for_the_password_once(classroom, open_page):
    from playwright.sync_api import expect

    address, store = classroom
    pages = open_page(address)
    page = next(pages)
    page.get_by_text("Looking, comparing and asking are open to everybody.").wait_for()
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
    page.get_by_role("button", name="Lock again").click()
    page.get_by_text("Looking, comparing and asking are open to everybody.").wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete it").click()
    page.get_by_text("Expected the password of this app, got none").wait_for()
    assert len(store.list()) == before
    next(pages, None)


def session_cookie(username: str, *, seconds: float = 3600) -> str:
    """The cookie that Gradio's sign-in leaves in a browser, signed as a Space signs it."""
    signing = pytest.importorskip("itsdangerous")
    key = hashlib.sha256((SIGN_IN["OAUTH_CLIENT_SECRET"] + "-v4").encode()).hexdigest()
    profile = {"sub": "1", "name": username, "preferred_username": username, "profile": "", "picture": ""}
    content = {"oauth_info": {"userinfo": profile, "expires_at": time.time() + seconds, "access_token": "t"}}
    signed = signing.TimestampSigner(key).sign(b64encode(json.dumps(content).encode())).decode()
    return f"session={signed}"


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """The app as a Space sees itself, with Gradio's own sign-in: (address, store)."""
    pytest.importorskip("authlib")
    pytest.importorskip("itsdangerous")
    # The app must answer at this machine's address, not at the Space's.
    environment = {name: value for name, value in (SPACE | SIGN_IN).items() if name != "SPACE_HOST"}
    with app_on(tmp_path_factory.mktemp("space") / "store", **environment, GRADIO_SERVER_NAME="127.0.0.1") as found:
        yield found


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
    (launched,) = owner.predict(*asked, api_name="/launch")
    assert owner.predict(launched, api_name="/cancel") in ("queued", "running", "cancelled")


def test_the_owner_signed_in_trains_on_the_page(space, browser):
    """With the cookie that Gradio's sign-in leaves: it must reach the handlers through the page's own requests."""
    address, store = space
    before = len(store.list())
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    name, _, value = session_cookie("Teacher").partition("=")
    context.add_cookies([{"name": name, "value": value, "url": address}])
    page = context.new_page()
    page.goto(address)
    page.get_by_text("You may train and change runs here.").wait_for()
    page.get_by_role("button", name="Sign out (Teacher)").wait_for()
    shoot(page, "space-owner")
    for method in ("Full fine-tuning", "QLoRA (4-bit)", "Adapter", "AdapterFusion"):
        page.get_by_label(method, exact=True).uncheck()
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("1 run queued").wait_for()
    assert len(store.list()) == before + 1
    context.close()
    from trainer import jobs

    jobs.cancel(store, store.list()[-1].id)


def test_a_space_shows_its_sign_in_and_that_runs_are_lost(space, browser):
    address, _ = space
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(address)
    page.get_by_text("Runs are lost when this Space restarts").wait_for()
    page.get_by_role("button", name="Sign in with Hugging Face").wait_for()
    page.get_by_text("To train, load, rename, cancel or delete runs, sign in as the owner of this Space.").wait_for()
    assert serious(page) == []
    shoot(page, "space-stranger")
    context.close()
