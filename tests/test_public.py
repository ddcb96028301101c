"""The app among strangers: ceilings, paths, host names, what an error says, /health, the start of the server."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from conftest import free_port, no_worker
from gradio.utils import LRUCache
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from trainer.errors import ArgumentError, UserError
from trainer.machine import hosting, limits
from trainer.machine.access import Access, Rules, Visitor
from trainer.machine.hosting import Hosts
from trainer.machine.limits import Ledger, Limits
from trainer.runs import recipes
from trainer.runs.store import Store
from trainer.ui.common import config_cache, event_queue, faults, health, launching, log, requests, server, sessions
from trainer.ui.common.lab import Lab
from trainer.ui.common.page import PREDICTING, Page
from trainer.ui.common.timekeeper import Timekeeper
from trainer.ui.train import api as train_api

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = {"PEFT_LAB_PASSWORD": "secret"}
SPACE = {"SPACE_ID": "a/b", "SPACE_HOST": "a-b.hf.space,lab.example.org"}
LAN = {"GRADIO_SERVER_NAME": "0.0.0.0"}


def lab_on(store: Store, environment: dict[str, str] = PASSWORD, **most: int) -> Lab:
    """A lab as an app in this environment opens it, with these ceilings."""
    made = Lab.open(store)
    public = Limits.of(environment, public=hosting.public(environment))
    made.access, made.hosts = Access(Rules.of(environment)), Hosts.of(environment)
    made.limits = Limits(**{one.name: getattr(public, one.name) for one in fields(Limits)} | most)
    made.ledger = Ledger(made.limits, store.root)
    return made


def apart(coroutine):
    """The coroutine's result, from a loop of its own: Playwright's may run in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def asked(app, method: str, path: str, **more) -> httpx.Response:
    async def answered():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, **more)

    return apart(answered())


@pytest.fixture
def logged(caplog):
    """The lines of the app's log."""
    caplog.set_level(logging.INFO, logger="peft_lab")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "peft_lab"]


# Ceilings


def test_ceilings_are_set_where_others_reach_the_app_and_hardly_elsewhere():
    public, own = (Limits.of({}, public=one) for one in (True, False))
    for one in fields(Limits):
        assert getattr(public, one.name) is not None, one.name
        assert getattr(own, one.name) is None or getattr(own, one.name) >= 10 * getattr(public, one.name), one.name
    assert public.launch == 20
    for environment, is_public in (
        ({}, False), (PASSWORD, True), (SPACE, True), (LAN, True), ({"GRADIO_SHARE": "True"}, True),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, False), ({"GRADIO_SERVER_NAME": "[::1]"}, False),
        ({"GRADIO_SERVER_NAME": "localhost"}, False), ({"GRADIO_SERVER_NAME": "192.168.1.5"}, True),
        ({"PEFT_LAB_HOSTS": "lab.school.org"}, True), ({"FORWARDED_ALLOW_IPS": "127.0.0.1"}, True),
        ({"GRADIO_ROOT_PATH": "/lab"}, True), ({"GRADIO_ROOT_PATH": ""}, False),
    ):  # fmt: skip
        assert hosting.public(environment) is is_public, environment


@pytest.mark.parametrize("one", fields(Limits), ids=lambda one: one.name)
def test_every_ceiling_is_a_setting_and_documented(one):
    name = one.metadata["name"]
    assert name in (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for public in (True, False):
        assert getattr(Limits.of({name: " 7 "}, public=public), one.name) == 7
        assert getattr(Limits.of({name: "None"}, public=public), one.name) is None
    for wrong in ("0", "-1", "1.5", "many", "٣", "9" * 5000, "1e3"):
        with pytest.raises(ArgumentError, match=f"a whole number from 1 on or none in {name}"):
            Limits.of({name: wrong}, public=True)


def ask(lab: Lab, count: int, **more):
    """/launch for so many runs, with the password."""
    methods = (["lora", "full", "adapter"] * count)[:count]
    return train_api.launch_api(lab, methods, settings={"epochs": 1} | more, password="secret")


def test_a_launch_of_many_runs_is_refused_before_anything_is_read(own_store, monkeypatch):
    lab = lab_on(own_store)
    monkeypatch.setattr(recipes, "suite", None)
    with pytest.raises(gr.Error, match="at most 20 runs a launch, got 500; launch the others afterwards"):
        ask(lab, 500)
    with pytest.raises(gr.Error, match="at most 20 runs a launch, got 21"):
        ask(lab, 3, seeds=list(range(7)))
    assert own_store.list() == []


def test_the_queue_has_a_length_and_says_busy(own_store):
    lab = lab_on(own_store, queue=3)
    with no_worker(own_store):
        assert len(ask(lab, 2)) == 2
        with pytest.raises(gr.Error, match="at most 3 runs in the queue, got 4; this app is busy: try again when"):
            ask(lab, 2)
        fusion = {"parent_tasks": ["products", "tweets"]}
        with pytest.raises(gr.Error, match="at most 3 runs in the queue, got 5"):  # its two parents wait as well
            train_api.launch_api(lab, ["adapter_fusion"], settings=fusion, password="secret")
        assert len(ask(lab, 1)) == 1
    assert len(own_store.list()) == 3


def test_a_person_launches_so_many_runs_an_hour_and_a_day():
    now = [0.0]
    ledger = Ledger(Limits(hour=3, day=5), Path("/nowhere"), clock=lambda: now[0])

    def launch(person: str, count: int) -> None:
        ledger.require(person, count, queued=count, waiting=0)
        ledger.add(person, count)

    launch("one", 3)
    with pytest.raises(UserError, match="at most 3 runs an hour from one person, got more; launch the others later"):
        launch("one", 1)
    launch("other", 3)
    now[0] = limits.HOUR + 1
    launch("one", 2)
    with pytest.raises(UserError, match="at most 5 runs a day from one person"):
        launch("one", 1)
    now[0] = limits.DAY + 1
    launch("one", 3)
    now[0] = 9 * limits.DAY
    launch("third", 1)
    assert list(ledger._launched) == ["third"], "what is over is forgotten"


def test_a_launch_that_is_slow_to_begin_holds_up_no_other_and_is_counted():
    """What a launch reads may come over a network: others launch meanwhile, and do not share its gap in the queue."""
    ledger, waiting = Ledger(Limits(queue=3, hour=3), Path("/nowhere")), lambda: 0
    with ledger.reserved("slow", 2, queued=2, waiting=waiting):
        with ledger.reserved("other", 1, queued=1, waiting=waiting):
            pass
        with pytest.raises(UserError, match="at most 3 runs in the queue, got 4"):
            ledger.reserved("third", 2, queued=2, waiting=waiting).__enter__()
    with pytest.raises(ZeroDivisionError), ledger.reserved("slow", 1, queued=1, waiting=waiting):
        raise ZeroDivisionError
    with ledger.reserved("slow", 1, queued=1, waiting=waiting):
        """What failed did not count."""
    with pytest.raises(UserError, match="at most 3 runs an hour from one person"):
        ledger.reserved("slow", 1, queued=1, waiting=waiting).__enter__()


def test_a_person_is_a_user_or_a_network_address():
    profile = {"preferred_username": "Teacher"}
    assert Visitor(address="1.2.3.4", profile=profile).person == Visitor(address="::1", profile=profile).person
    assert Visitor(address="1.2.3.4").person != Visitor(address="1.2.3.5").person
    assert Visitor(address="::ffff:1.2.3.4").person == Visitor(address="1.2.3.4").person
    assert Visitor(address="2001:db8::1").person == Visitor(address="2001:db8::ffff:2").person
    assert Visitor(address="2001:db8:0:1::1").person != Visitor(address="2001:db8::1").person


def test_nothing_is_added_to_a_full_store(own_store):
    lab = lab_on(own_store, megabytes=1)
    (own_store.root / "somebody").mkdir(parents=True)
    (own_store.root / "somebody" / "weights").write_bytes(bytes(1_500_000))
    with pytest.raises(gr.Error, match="a store below 1 MB, got 1 MB; delete runs that are no longer needed"):
        ask(lab, 1)
    assert own_store.list() == []
    import app

    lab.access.rules = Rules()
    adding = {"keep", "load_zips", "load_folder"}
    page = app.build_app(lab)
    found = {inner(one.fn): one.fn for one in page.fns.values() if inner(one.fn) in adding}
    assert set(found) == adding
    for name, function in found.items():
        refusal = function(gr_request(), "x")
        assert "a store below 1 MB" in str(refusal if name != "keep" else list(refusal.values()))


def inner(function) -> str:
    from trainer.ui.common.access import inner_name

    return inner_name(function) if function is not None else ""


def gr_request(**headers: str) -> SimpleNamespace:
    scope = SimpleNamespace(scope={})
    return SimpleNamespace(session_hash="s", request=scope, client=SimpleNamespace(host="10.0.0.1"), headers=headers)


def test_the_page_and_the_endpoints_launch_in_one_place():
    """By the code: nothing in trainer/ui launches past the ceilings, and no error is raised past `faults`."""
    for path in sorted((ROOT / "trainer" / "ui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            call = ast.unparse(node.func)
            launches = call in ("jobs.launch", "jobs.retrain", "jobs.resume", "adoption.adopt")
            assert not launches or path.name == "launching.py", f"{path.name}: {call}"
            assert call not in ("gr.Error", "gr.Warning", "gr.Info", "gr.Success"), f"{path.name}: {call}"


def test_a_run_that_trains_for_too_long_is_cancelled_with_the_reason(own_store, logged):
    lab, now = lab_on(own_store, minutes=60), [0.0]
    keeper = Timekeeper(lab, clock=lambda: now[0])

    def passes(minutes: float) -> bool:
        """Whether the run is asked to stop after further minutes, in which the thread looks as it does."""
        for _ in range(round(minutes * 60 / 15)):
            now[0] += 15
            keeper.look()
        return (run.folder / "cancel").exists()

    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    own_store.update(run.id, state="running")
    with own_store.at_work(run.id):
        assert not passes(50)
        now[0] += 4 * 3600  # the machine sleeps
        assert not passes(8)
        assert passes(3)
    own_store.update(run.id, state="cancelled", error="Cancelled on request.")
    keeper.look()
    assert own_store.load(run.id).error.startswith("Cancelled after 60 minutes, the most for a run here")
    assert sum(f"run={run.id}" in line for line in logged()) == 1


def test_waiting_predictions_have_a_number(own_store):
    """Gradio's own queue with events that nobody takes: another of them is refused, other events are not."""
    lab = lab_on(own_store, predictions=2)
    with Page(lab) as page:
        text = gr.Textbox()

        def predict(value):
            return value

        def other(value):
            return value

        text.submit(predict, text, text)
        text.change(other, text, text)
    asking, others = page.fns.values()
    queue = page._queue

    async def push(fn) -> tuple:
        from gradio.data_classes import PredictBodyInternal

        request = SimpleNamespace(headers={}, client=SimpleNamespace(host="1"), query_params={}, cookies={})
        body = PredictBodyInternal.model_construct(data=["x"], fn_index=fn._id, session_hash="s", request=request)
        return await queue.push(body=body, request=request, username=None)

    async def all_of_them() -> list:
        return [await push(asking) for _ in range(3)] + [await push(others)]

    *accepted, refused, other_one = apart(all_of_them())
    assert [one[0] for one in accepted] == [True, True]
    assert refused[0] is False
    assert refused[2] == "queue_full"
    assert refused[1] == "Expected at most 2 predictions waiting, got more; this app is busy: try again in a minute."
    assert other_one[0] is True


def test_every_handler_that_predicts_is_counted(own_store):
    import app

    page = app.build_app(lab_on(own_store))
    assert set(PREDICTING) <= {inner(one.fn) for one in page.fns.values()}


# Paths


PATHS = [
    {"task": "/etc/passwd.csv"}, {"task": "{file}"}, {"task": "./x.csv"}, {"task": "~/x.tsv"},
    {"backbone": "{folder}"}, {"backbone": "/nowhere"},
    {"task": "movies", "settings": {"validation_file": "{file}"}},
    {"task": "movies", "settings": {"test_file": "x"}},
    {"task": "movies", "settings": {"parent_tasks": ["movies", "{file}"]}},
    {"task": "movies", "settings": {"adapter_fusion.parent_tasks": ["{file}", "tweets"]}},
    {"task": "movies", "settings": {"options": {"parent_tasks": ["{file}", "tweets"]}}},
]  # fmt: skip


@pytest.mark.parametrize("asked_for", PATHS, ids=str)
def test_paths_of_the_machine_are_refused_where_not_everybody_may_change_runs(
    own_store, tmp_path, asked_for, tiny_file
):
    """In the same words whether anything is there or not, and before it is looked at."""

    def filled(value):
        if isinstance(value, dict):
            return {name: filled(one) for name, one in value.items()}
        if isinstance(value, list):
            return [filled(one) for one in value]
        return value.format(file=tiny_file, folder=tmp_path)

    given = {"task": "movies", "settings": {}} | filled(asked_for)
    with pytest.raises(gr.Error, match=r"Expected a (task by its name or an uploaded file|backbone)") as refused:
        train_api.launch_api(lab_on(own_store), ["adapter_fusion"], **given, password="secret")
    assert str(tiny_file) not in refused.value.message
    assert own_store.list() == []


def test_an_uploaded_file_and_the_machines_own_user_are_served(own_store, tiny_file):
    lab, more = lab_on(own_store), {"settings": {"epochs": 1}}
    stored = own_store.store_file(tiny_file)
    with no_worker(own_store):
        (uploaded,) = train_api.launch_api(lab, ["lora"], task=str(stored), **more, password="secret")
        (local,) = train_api.launch_api(Lab.open(own_store), ["lora"], task=str(tiny_file), **more)
        assert own_store.load(uploaded).recipe.task == str(stored)
        for run_id in (uploaded, local):
            own_store.update(run_id, state="failed", error="x")
        launching.resume(lab, uploaded)
        for act in (launching.resume, launching.retrain):
            with pytest.raises(ArgumentError, match="an uploaded file, got a path on the app's machine"):
                act(lab, local)
        configs = [recipes.make(method="lora", task=str(tiny_file), backbone="minilm")]
        with pytest.raises(ArgumentError, match="an uploaded file"):
            launching.launch(lab, configs)
        with pytest.raises(ArgumentError, match="an uploaded file"):
            launching.adopt(lab, "/nowhere", task=str(tiny_file), backbone="minilm")


# Host names, origins, addresses


@pytest.mark.parametrize(
    ("environment", "known", "unknown"),
    [
        ({}, ["localhost", "localhost:7860", "127.0.0.1:7860", "[::1]:80", "app.localhost", "192.168.1.5", "lab:7860",
          "LOCALHOST."],
         ["evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.nip.io", "", "a/b", "x@localhost",
          "[::1", "a b", "[::1].evil.example", "[::1]evil.example:80", "x[::1]"]),
        (SPACE, ["a-b.hf.space", "lab.example.org", "10.1.2.3:7860", "pod.cluster.local"],
         ["b-a.hf.space", "hf.space"]),
        (LAN, [socket.gethostname(), "laptop.local:7860"], ["evil.example", "local.evil.example"]),
        ({"GRADIO_SERVER_NAME": "lab.school.org"}, ["lab.school.org:7860"], ["school.org"]),
        ({"PEFT_LAB_HOSTS": "lab.school.org, *.lan"}, ["lab.school.org", "pc.lan", "a.b.lan"],
         ["evil.xlan", "x.org"]),
        ({"GRADIO_ROOT_PATH": "https://school.org/lab"}, ["school.org"], ["a.school.org"]),
        ({"GRADIO_ROOT_PATH": "/lab"}, ["localhost"], ["lab.org"]),
    ],
)  # fmt: skip
def test_host_names(environment, known, unknown):
    hosts = Hosts.of(environment)
    assert [name for name in known if not hosts.knows(name)] == []
    assert [name for name in unknown if hosts.knows(name)] == []


@pytest.mark.parametrize(
    ("environment", "origin", "host", "allowed"),
    [
        ({}, "http://127.0.0.1:7860", "127.0.0.1:7860", True),
        ({}, "http://localhost:3000", "127.0.0.1:7860", True),
        ({}, "http://192.168.1.5:7860", "192.168.1.5:7860", True),
        ({}, "http://6.6.6.6", "127.0.0.1:7860", False),
        ({}, "http://evil.example", "127.0.0.1:7860", False),
        ({}, "null", "127.0.0.1:7860", False),
        ({}, "file://", "127.0.0.1:7860", False),
        ({}, "", "127.0.0.1:7860", False),
        ({}, "http://evil.example", "0.0.0.0:7860", False),
        (SPACE, "https://a-b.hf.space", "a-b.hf.space", True),
        (SPACE, "https://lab.example.org", "a-b.hf.space", True),
        (SPACE, "https://huggingface.co", "a-b.hf.space", False),
        (SPACE, "http://localhost:3000", "a-b.hf.space", False),
        ({"PEFT_LAB_HOSTS": "lab.school.org"}, "https://lab.school.org", "10.0.0.7:7860", True),
    ],
)  # fmt: skip
def test_origins(environment, origin, host, allowed):
    assert Hosts.of(environment).may_send(origin, host) is allowed


@given(st.text(max_size=40))
def test_no_host_or_origin_breaks_the_check(text):
    hosts = Hosts(("lab.school.org",))
    for found in (hosts.knows(text), hosts.may_send(text, "localhost"), hosts.may_send(f"http://{text}", text)):
        assert found in (True, False)


def test_other_hosts_and_sites_reach_nothing_but_health(own_store, logged):
    lab = lab_on(own_store, SPACE)

    async def route(request):
        return PlainTextResponse("reached")

    app = Starlette(
        routes=[Route("/{path:path}", route, methods=["GET", "POST"])],
        middleware=[*health.middleware(lab), *requests.middleware(lab)],
    )
    assert asked(app, "GET", "/").text == "reached"
    for headers, status in (({"host": "evil.example"}, 400), ({"origin": "https://evil.example"}, 403)):
        for method in ("GET", "POST"):
            got = asked(app, method, "/gradio_api/call/launch", headers=headers)
            assert got.status_code == status
            assert got.text.startswith("Expected a")
            assert "PEFT_LAB_HOSTS" in got.text
            assert "evil" not in got.text
        assert asked(app, "GET", "/health", headers=headers).json()["ready"] is False
    assert len(logged()) == 4


@pytest.mark.parametrize(
    ("environment", "peer", "header", "address"),
    [
        ({}, "127.0.0.1", "9.9.9.9", "127.0.0.1"),
        (LAN, "10.0.0.8", "9.9.9.9", "10.0.0.8"),
        (SPACE, "10.20.0.1", "9.9.9.9", "9.9.9.9"),
        (SPACE, "10.20.0.1", "8.8.8.8, 9.9.9.9, 10.0.0.3", "9.9.9.9"),  # the first is what the visitor wrote
        (SPACE, "9.9.9.9", "8.8.8.8", "9.9.9.9"),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.8"}, "10.0.0.8", "9.9.9.9", "9.9.9.9"),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.8"}, "10.0.0.9", "9.9.9.9", "10.0.0.9"),
    ],
)
def test_a_visitors_address_is_a_proxys_word_only_where_one_is_declared(environment, peer, header, address):
    """Through Uvicorn's own layers, as `serve` asks for them."""
    import uvicorn

    seen = []

    async def app(scope, receive, send):
        seen.append(scope["client"][0])
        await PlainTextResponse("")(scope, receive, send)

    config = uvicorn.Config(app, **server.proxies_of(environment))
    config.load()

    async def answered():
        transport = httpx.ASGITransport(app=config.loaded_app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.get("/", headers={"x-forwarded-for": header})

    apart(answered())
    assert seen == [address]


# Errors


ODD = ["\x00", "a\x00b", "\ud800", "a\udfffb", {"x": ["\ud800"]}, {"\x00": 1}, [["\x00"]]]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_null_bytes_and_half_characters_are_refused_anywhere(odd):
    with pytest.raises(ArgumentError, match="text of whole characters without null bytes"):
        faults.check_text([1, None, odd])
    faults.check_text(["ä😀\n\u202e", {"a": [1.5, None, True]}])


@given(st.text(st.characters(), max_size=300))
def test_a_sentence_is_one_line_that_every_encoding_carries(text):
    shown = faults.plain(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert shown.isprintable()


def test_a_sentence_has_a_length_and_no_place_in_memory():
    assert len(faults.plain("x" * 10**6)) == faults.MOST
    assert faults.plain("<gradio.Api object at 0x7f12ab34cd56>, 0xdeadbeef") == "<gradio.Api object>,"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return going_wrong(lab_on(Store(tmp_path_factory.mktemp("noisy"))))


def going_wrong(lab: Lab) -> SimpleNamespace:
    """A page among strangers whose handlers go wrong in every way: its app, a way to call, and what goes wrong."""
    wrong = {
        "user": lambda: ArgumentError(expected="<b>x</b>", got="a & b", fix="y"),
        "sentence": lambda: faults.Sentence("<img src=x onerror=alert(1)>"),
        "gradio": lambda: gr.Error("<i>of /srv/secret/gradio</i>"),
        "value": lambda: ValueError("/srv/secret/file at 0x7f12ab34cd56"),
        "key": lambda: KeyError("secret"),
        "disk": lambda: OSError(5, "Input/output error", "/srv/secret/file"),
        "half": lambda: RuntimeError("\ud800\n\x00"),
    }

    def handler(kind: str, count: int) -> str:
        raise wrong[kind]()

    with Page(lab) as page:
        gr.api(handler, api_name="public")
        kind, count, shown = gr.Dropdown(["user"], allow_custom_value=True), gr.Number(precision=0), gr.HTML()
        kind.input(handler, [kind, count], shown, api_name="private", api_visibility="private")
        gr.Button("Go wrong").click(lambda: handler("sentence", 1), None, shown, api_visibility="private")
    page.queue(api_open=True)  # for `called`, which does not wait in the queue
    layers = {"middleware": requests.middleware(lab), "exception_handlers": requests.HANDLERS}
    app = server.application(lab, page, app_kwargs=layers)

    def called(name: str, data: object) -> httpx.Response:
        index = next(one._id for one in page.fns.values() if one.api_name == name)
        body = json.dumps({"data": data, "fn_index": index})
        kind = {"content-type": "application/json"}
        return asked(app, "POST", "/gradio_api/run/predict", content=body, headers=kind)

    return SimpleNamespace(app=app, called=called, wrong=wrong)


@pytest.mark.parametrize("name", ["public", "private"])
def test_every_error_is_one_sentence_and_a_toast_is_no_html(noisy, name, capfd, logged):
    for kind in noisy.wrong:
        text = noisy.called(name, [kind, 1]).json()["error"]
        assert len(text.splitlines()) == 1, kind
        assert [part for part in ("/srv", "secret/", "0x7f") if part in text] == []
        assert ("<" in text) is (name == "public" and kind in ("user", "sentence", "gradio"))
    for line, kind in zip(logged(), noisy.wrong, strict=True):
        assert "handler=handler" in line, kind
        assert len(line.splitlines()) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


@contextmanager
def serving(app) -> Iterator[str]:
    """A server of the application in a thread; yields its address."""
    import uvicorn

    _, port, bound = server.bind({"GRADIO_SERVER_PORT": str(free_port())})
    running = server.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1), lambda: None)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join(20)
        bound.close()


def test_a_toast_shows_what_was_sent_as_text(own_store, browser):
    with serving(going_wrong(lab_on(own_store)).app) as address:
        context = browser.new_context()
        try:
            page = context.new_page()
            page.goto(address)
            page.get_by_role("button", name="Go wrong").click()
            page.get_by_text("<img src=x onerror=alert(1)>").wait_for()
            assert page.locator("img[src='x']").count() == 0
        finally:
            context.close()


@pytest.mark.parametrize(
    "data",
    [[], ["user"], [None], [{"a": 1}, "x"], ["user", "x"], ["user", {"a": [1]}], ["user", []], ["\ud800", 1],
     ["x" * 10**6, 1], [["user"], 1], [1e308, None]],
    ids=lambda data: ascii(data)[:30],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_one_sentence(noisy, data, capfd, logged):
    for name in ("private", "public"):
        text = noisy.called(name, data).json()["error"]
        assert text.startswith(("Expected ", "Something unexpected went wrong ("))
        assert len(text.splitlines()) == 1
        assert len(text) <= faults.MOST
        assert "0x" not in text
        assert "gradio" not in text.lower()
    assert len(logged()) == 2
    assert all(len(line.splitlines()) == 1 for line in logged())
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/gradio_api/call/nothing", b'{"data": []}', 400),
        ("POST", "/gradio_api/call/v2/nothing", b"{}", 400),
        ("POST", "/gradio_api/run/nothing", b'{"data": []}', 400),
        ("POST", "/gradio_api/call/public", b'{"data": "x"}', 422),
        ("POST", "/gradio_api/call/public", b"\xff\xfe", 422),
        ("POST", "/gradio_api/call/public", b"[" * 100_000, 400),
        ("POST", "/gradio_api/queue/join", b'{"data": [], "fn_index": 999, "session_hash": "s"}', 400),
        ("POST", "/gradio_api/queue/join", b'{"data": [], "fn_index": -1, "session_hash": "s"}', 400),
        ("POST", "/gradio_api/queue/join", b'{"data": []}', 400),
        ("POST", "/gradio_api/component_server", b"{}", 400),
        ("GET", "/nowhere", b"", 404),
        ("GET", "/gradio_api/file=/etc/passwd", b"", 403),
        ("GET", "/gradio_api/file=%00", b"", None),
    ],
)
def test_requests_of_no_known_form_are_a_line_and_no_traceback(noisy, method, path, body, status, capfd, logged):
    got = asked(noisy.app, method, path, content=body, headers={"content-type": "application/json"})
    assert 400 <= got.status_code < 500 or status is None
    assert status in (None, got.status_code)
    text = got.text + "".join(logged())
    assert "Traceback" not in text + "".join(capfd.readouterr())
    assert str(ROOT) not in text
    assert len(logged()) <= 1
    assert len("".join(logged()).splitlines()) <= 1


def test_a_log_line_cannot_be_forged(logged):
    log.event("launch", run="a b\nINFO launch run=other", by='x" run="y', none=None, empty="")
    (line,) = logged()
    assert len(line.splitlines()) == 1
    assert line.startswith('launch run="a b INFO launch run=other" by=')


def test_one_line_tells_of_each_run_that_is_launched_or_cancelled(own_store, logged):
    lab = lab_on(own_store)
    with no_worker(own_store):
        ids = ask(lab, 2)
        train_api.cancel_api(lab, ids[0], password="secret")
    assert [line.split()[:2] for line in logged()] == [
        *(["queued", f"run={run_id}"] for run_id in ids), ["cancel", f"run={ids[0]}"],
    ]  # fmt: skip


# /health


def test_health_says_ready_or_why_not(own_store, monkeypatch):
    lab = lab_on(own_store)
    lab.warm = True
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = health.Watch(lab)

    def reasons(seconds: float = health.SECONDS_BETWEEN_LOOKS) -> list[str]:
        now[0] += seconds
        told = watch.state()
        assert told["ready"] is (told["reasons"] == [])
        assert str(own_store.root) not in str(told)
        return told["reasons"]

    assert reasons() == []
    assert not own_store.root.exists(), "looking makes no store"
    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    assert reasons() == []
    assert reasons(health.SECONDS_WITHOUT_WORKER + 1) == ["worker"]
    with no_worker(own_store), ThreadPoolExecutor(1) as pool:
        assert pool.submit(reasons).result() == [], "another has the queue's lock"
    own_store.update(run.id, state="cancelled")
    assert reasons() == []
    with monkeypatch.context() as patch:
        patch.setattr(health, "LEAST_FREE", 10**18)
        assert reasons() == ["disk"]
    with monkeypatch.context() as patch:
        patch.setattr(health.tempfile, "TemporaryFile", raises(OSError(30, "Read-only file system")))
        assert reasons() == ["store"]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "list", raises(OSError(5, "Input/output error")))
        assert reasons() == ["store"]
    lab.warm, lab.problem = False, "no torch"
    assert reasons() == ["device"]
    lab.problem = None
    assert reasons(0) == ["starting"]


def raises(error: Exception):
    def function(*_, **__):
        raise error

    return function


# Start and end


def test_a_config_is_made_once_for_each_address():
    made = []

    async def config(request):
        made.append(str(request.url))
        return PlainTextResponse(str(request.url), status_code=200 if "host" in request.headers else 500)

    app = Starlette(routes=[Route("/config", config), Route("/other", config)], middleware=config_cache.middleware())
    for host in ("one", "other", "one", "one"):
        assert asked(app, "GET", "/config", headers={"host": host}).text == f"http://{host}/config"
    assert len(made) == 2
    asked(app, "GET", "/config?deep_link=x", headers={"host": "one"})
    asked(app, "GET", "/other", headers={"host": "one"})
    assert len(made) == 4
    for number in range(3 * config_cache.MOST):
        asked(app, "GET", "/config", headers={"host": f"host{number}"})
    asked(app, "GET", "/config", headers={"host": "one"})
    assert len(made) == 4 + 3 * config_cache.MOST + 1, "the oldest went"


def test_the_first_free_port_is_taken():
    port = free_port()
    environment = {"GRADIO_SERVER_PORT": str(port), "GRADIO_NUM_PORTS": "3"}
    _, first, one = server.bind(environment)
    with one:
        name, second, other = server.bind(environment)
        with other:
            assert (name, first) == ("127.0.0.1", port)
            assert second > first
        with pytest.raises(UserError, match=f"a free port from {port} on at 127.0.0.1, got Address already in use"):
            server.bind(environment | {"GRADIO_NUM_PORTS": "1"})
    for wrong in ("x", "0", "70000", "-1"):
        with pytest.raises(UserError, match=f"GRADIO_SERVER_PORT: expected a valid integer, got '{wrong}'; change it"):
            server.bind({"GRADIO_SERVER_PORT": wrong})
    with pytest.raises(UserError, match="set GRADIO_SERVER_NAME or GRADIO_SERVER_PORT"):
        server.bind({"GRADIO_SERVER_NAME": "no.such.host.invalid"})


def test_a_proxys_path_is_in_the_pages_addresses(own_store):
    with Page(lab_on(own_store)) as page:
        gr.Markdown("x")
    for path in ("", "/lab"):
        app = server.application(page.lab, page, root_path=path)
        assert asked(app, "GET", "/config").json()["root"] == f"http://127.0.0.1:7860{path}"
        assert asked(app, "GET", f"{path}/config").status_code == 200


SLOW = """
import sys, threading, time
import app
from trainer.ui.common import server

class Slow(server.Server):
    async def startup(self, sockets=None):
        time.sleep(5.5)  # longer than Gradio's own launch waits for its server, and for its first answer
        await super().startup(sockets)

server.Server = Slow
app.main()
"""


def test_the_app_starts_however_slow_and_ends_by_the_keyboard(tmp_path):
    """A client that connects meanwhile waits and is answered; Ctrl-C ends it while a page's stream is open."""
    port = free_port()
    environment = os.environ | {"ADAPTERS_STORE": str(tmp_path / "store"), "GRADIO_SERVER_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        end, address = time.monotonic() + 120, f"http://127.0.0.1:{port}"
        while True:
            try:
                assert httpx.get(f"{address}/config", timeout=60).status_code == 200
                break
            except httpx.ConnectError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.2)
        with httpx.stream("GET", f"{address}/gradio_api/heartbeat/someone", timeout=20) as stream:
            next(stream.iter_lines())
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    finally:
        process.kill()
    written = process.communicate()[0]
    assert written.startswith(f"* Running on local URL:  {address}")
    assert "Traceback" not in written


def test_a_session_is_small_and_only_the_newest_are_stored(own_store, monkeypatch):
    """One for each page and each question of a program: Gradio's own take half a megabyte each, and stay."""
    monkeypatch.setattr(sessions, "MOST", 5)
    with Page(lab_on(own_store)) as page:
        box, state = gr.Textbox("first"), gr.State("its own")
    server.application(page.lab, page)
    stored = page.state_holder
    assert isinstance(stored, sessions.Sessions)
    for number in range(3):
        assert stored[f"page{number}"].config_values == {}
    stored["page0"][state._id] = "changed"
    for number in range(4):
        stored[f"program{number}"].is_closed = False
        assert stored["page0"][state._id] == "changed", "a page that is used stays"
    assert list(stored.session_data) == ["program0", "program1", "program2", "program3", "page0"]
    assert set(stored.time_last_used) == set(stored.session_data)
    assert stored["page1"][box._id].value == "first", "one that went begins again"


def test_events_that_have_ended_are_not_stored_without_end(own_store, monkeypatch):
    monkeypatch.setattr(event_queue, "MOST", 3)
    with Page(lab_on(own_store)) as page:
        gr.Button().click(lambda: "answer", None, gr.Textbox(), api_name="answer", concurrency_limit=1)
    with serving(server.application(page.lab, page)) as address:
        for _ in range(8):
            sent = httpx.post(f"{address}/gradio_api/call/answer", json={"data": []}, timeout=60)
            line = httpx.get(f"{address}/gradio_api/call/answer/{sent.json()['event_id']}", timeout=60).text
            assert line == 'event: complete\ndata: ["answer"]\n\n'
    queue = page._queue
    assert 0 < len(queue.event_ids_to_events) <= 3
    assert 0 < len(queue.event_analytics) <= 3
    assert len(queue._asyncio_tasks) < 8
    assert isinstance(queue.pending_event_ids_session, LRUCache)
    queue.event_analytics["of an event that went"]["status"] = "success"
    assert "of an event that went" not in queue.event_analytics


def test_a_stream_that_closes_late_takes_nothing_of_the_next(own_store, monkeypatch):
    """A page opens its next stream before the server has seen the last one close."""
    for name, seconds in (("IDLE", 0.2), ("HANG_UP", 0.2), ("GRACE", 1.0)):
        monkeypatch.setattr(event_queue, name, seconds)
    go = threading.Event()
    with Page(lab_on(own_store)) as page:
        gr.Button().click(lambda: go.wait(60), None, gr.Textbox(), api_name="slow")
    queue = page._queue
    with serving(server.application(page.lab, page)) as address, httpx.Client(base_url=address, timeout=60) as http:
        http.headers["user-agent"] = "Mozilla/5.0"
        stream = "/gradio_api/queue/data?session_hash=someone"
        asked = {"data": [], "fn_index": 0, "session_hash": "someone"}
        assert http.post("/gradio_api/queue/join", json=asked).status_code == 200
        with http.stream("GET", stream) as second:
            with http.stream("GET", stream) as first:
                next(first.iter_lines())
            time.sleep(1)  # the server hears that the first has closed
            go.set()
            deadline = time.monotonic() + 30  # a line comes at least every 15 s
            received = "".join(takewhile(lambda _: time.monotonic() < deadline, second.iter_lines()))
        assert "process_completed" in received
        assert '"success":true' in received
        assert "close_stream" in received
        assert "404: Not Found" not in received
        go.clear()
        http.post("/gradio_api/queue/join", json=asked)
        with http.stream("GET", stream) as only:
            next(only.iter_lines())
            time.sleep(2)  # the server has sent what there was, and waits for more
        deadline = time.monotonic() + 20
        while "someone" in queue.pending_messages_per_session and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "someone" not in queue.pending_messages_per_session, "the last stream takes what is left with it"
        go.set()
    monkeypatch.setattr(event_queue, "MOST", 2)
    stored = event_queue.Messages(event_queue.Sessions(Counter(open=1)))
    for session in ("open", "b", "c"):
        stored[session] = session
    assert list(stored) == ["open", "c"]


def test_an_event_is_acknowledged_once_its_page_has_read_that_its_stream_closes(own_store, monkeypatch):
    """A page that takes the answer to come by a stream that closes waits without end."""
    monkeypatch.setattr(event_queue, "IDLE", 0.2)
    with Page(lab_on(own_store)) as page:
        gr.Button().click(lambda: "answer", None, gr.Textbox(), api_name="answer")
    asked = {"data": [], "fn_index": 0, "session_hash": "someone"}
    with (
        serving(server.application(page.lab, page)) as address,
        httpx.Client(base_url=address, timeout=60, headers={"user-agent": "Mozilla/5.0"}) as http,
        ThreadPoolExecutor(1) as thread,
    ):

        def join() -> str:
            return http.post("/gradio_api/queue/join", json=asked).json()["event_id"]

        def answered(event: str, *, reads: float) -> None:
            with http.stream("GET", "/gradio_api/queue/data?session_hash=someone") as stream:
                lines = stream.iter_lines()
                assert any(event in line and "process_completed" in line for line in lines)
                assert any("close_stream" in line for line in lines)
                # What closes is all that comes; the page reads it late.
                acknowledged.append(thread.submit(join))
                time.sleep(reads)
                assert acknowledged[-1].done() is (reads > 1)
            acknowledged[-1].result(timeout=5)

        acknowledged = []
        answered(join(), reads=0.5)
        monkeypatch.setattr(event_queue, "HANG_UP", 0.5)
        answered(acknowledged[-1].result(), reads=2)


def test_a_page_that_cut_its_stream_and_goes_on_is_answered(own_store, monkeypatch):
    """Gradio's page cuts its stream where a link may leave it; where it goes on, so do its events."""
    monkeypatch.setattr(event_queue, "GRACE", 1.5)
    go = threading.Event()
    with Page(lab_on(own_store)) as page:
        gr.Button().click(lambda: go.wait(60), None, gr.Textbox(), api_name="slow", concurrency_limit=1)
    asked, stream = (
        {"data": [], "fn_index": 0, "session_hash": "someone"},
        "/gradio_api/queue/data?session_hash=someone",
    )
    with (
        serving(server.application(page.lab, page)) as address,
        httpx.Client(base_url=address, timeout=60, headers={"user-agent": "Mozilla/5.0"}) as http,
    ):
        events = [http.post("/gradio_api/queue/join", json=asked).json()["event_id"] for _ in range(2)]
        with http.stream("GET", stream) as cut:
            next(cut.iter_lines())
        time.sleep(1)
        events.append(http.post("/gradio_api/queue/join", json=asked).json()["event_id"])
        time.sleep(1)  # more than the grace after the cut, less than it after the next event
        go.set()
        with http.stream("GET", stream) as second:
            received = "".join(takewhile(lambda line: "close_stream" not in line, second.iter_lines()))
        assert "404: Not Found" not in received
        assert all(received.count(f'"event_id":"{event}"') for event in events)
        assert received.count("process_completed") == 3


def test_the_queue_goes_on_after_a_client_that_left_and_after_an_error(own_store, monkeypatch, logged):
    """Gradio's loop that starts events ends at the first error, and the app answers nobody any more."""
    go = threading.Event()
    with Page(lab_on(own_store)) as page:
        gr.Button().click(lambda: go.wait(60), None, gr.Textbox(), api_name="slow", concurrency_limit=1)
    queue = page._queue
    with serving(server.application(page.lab, page)) as address, httpx.Client(base_url=address, timeout=60) as http:

        def join(session: str) -> None:
            asked = {"data": [], "fn_index": 0, "session_hash": session}
            assert http.post("/gradio_api/queue/join", json=asked).status_code == 200

        def answered(session: str) -> bool:
            with http.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
                return any("process_completed" in line for line in stream.iter_lines())

        for session in ("running", "left", "waiting"):
            join(session)
        # As Gradio has it between two of its steps where a stream closes.
        del queue.pending_messages_per_session["left"]
        join("later")
        go.set()
        assert all(map(answered, ("running", "waiting", "later")))
        events = queue.get_events

        def failing() -> None:
            monkeypatch.setattr(queue, "get_events", events)
            raise RuntimeError("of the queue itself")

        monkeypatch.setattr(queue, "get_events", failing)
        join("after")
        assert answered("after")
        assert any("of the queue itself" in line for line in logged())
