"""A tiny encoder made here, sentences in memory, a store of its own for each test."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it: nothing waits for a network
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.pop("SPACE_ID", None)  # tests say themselves where they pretend to run
os.environ.pop("PEFT_LAB_PASSWORD", None)
os.environ["PEFT_LAB_BUNDLED"] = "0"  # a test that wants the example runs says so
os.environ["GOMP_SPINCOUNT"] = "1000"  # tests, app, worker and browser share the cores (trainer.machine.device)

import dataclasses
import io
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from benchmarks import common
from trainer import cli as command_line
from trainer.jobs import queue, worker
from trainer.runs.store import Store

ENVIRONMENT = dict(os.environ)
"""As it is before any test changes it."""

ROOT = Path(__file__).resolve().parent.parent
VERSION_1 = ROOT / "tests" / "version_1"
"""A store of runs as the first version of the run format has them, without weights and predictions."""
SHOTS = ROOT / "screenshots"
LEAVING = re.compile(
    r"AbortError: (signal is|BodyStreamBuffer was) aborted|Unexpected error Connection errored out"
    r"|Cannot read properties of undefined \(reading 'e'\)"
)
"""What Gradio's page writes to its console when it is left while the server still answers: a reload, the end. And the
error of its Svelte after which the page loads itself once more (test_app.py)."""
GOOD = ("warm", "funny", "moving", "splendid", "charming", "clever", "bright", "fine")
BAD = ("dull", "cold", "clumsy", "tedious", "hollow", "stale", "grim", "poor")
THINGS = ("film", "story", "cast", "script", "scene", "ending", "music", "camera")


def sentences(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Different (sentence, label) pairs that a model can learn."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        label = rng.choice(("bad", "good"))
        words = GOOD if label == "good" else BAD
        text = f"the {rng.choice(THINGS)} is {rng.choice(words)} and the {rng.choice(THINGS)} is {rng.choice(words)}"
        found.setdefault(f"{text} {rng.choice(THINGS)}", label)
    return list(found.items())


LONGEST = (
    "deploy", "train", "lesson", "benchmarks", "compare", "gpu", "app", "live", "bundled", "runs", "methods",
    "examples", "space", "loop", "crashes", "docs", "rates", "run_format", "significance", "language", "public", "cuda",
)  # fmt: skip
"""Files that take long: run first, so that none is left for the end while the other process has nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, each file's in their order."""
    order = [f"test_{name}.py" for name in LONGEST]
    items.sort(key=lambda item: order.index(item.path.name) if item.path.name in order else len(order))


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch) -> Store:
    """Nothing a test does reaches the person's own runs."""
    monkeypatch.setenv("ADAPTERS_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return Store(tmp_path / "store")


# Made once, for all processes of pytest-xdist


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all processes of this session of tests have in common."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def once(place: Path, make: Callable[[Path], None]) -> Path:
    """A file or folder that `make` wrote: in the process that asks first, while the others wait. Do not change it."""
    done = place.with_name(f"{place.name}.done")
    with FileLock(f"{place}.lock"):
        if not done.exists():
            make(place)
            done.touch()
    return place


def finished_run(store: Store, config: Any) -> Any:
    """A run of the recipe in the store, trained in this process."""
    from trainer.training.request import Request
    from trainer.training.train import train

    run = store.create(config)
    store.update(run.id, state="finished", result=train(Request(config, run.folder, lambda event: None, costs=False)))
    return store.load(run.id)


@pytest.fixture(scope="session")
def tiny_backbone(shared) -> Path:
    """A two-layer BERT with random weights and its own tokenizer, as a local folder."""
    return once(shared / "tiny-bert0", _make_backbone)


def _make_backbone(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "is", "and", *GOOD, *BAD, *THINGS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder, safe_serialization=True)


@pytest.fixture(scope="session")
def tiny_file(shared) -> Path:
    """240 sentences with two labels as a CSV file."""
    return once(shared / "tiny.csv", lambda path: _write_sentences(path, 240))


@pytest.fixture(scope="session")
def second_file(shared) -> Path:
    """Other sentences of the same kind: a second task for a fusion."""
    return once(shared / "second.csv", lambda path: _write_sentences(path, 160, seed=1))


def _write_sentences(path: Path, count: int, *, seed: int = 0) -> None:
    import pandas as pd

    pd.DataFrame(sentences(count, seed=seed), columns=["sentence", "label"]).to_csv(path, index=False)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    found = common.browser()
    if found is None:
        leave_out("no Chromium here: install Debian's package chromium-headless-shell to run the browser tests")
    return found


def leave_out(why: str) -> None:
    """Skip a test for what this machine lacks. CI must lack nothing: there it fails."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


# The command line and the worker


def trainer(*arguments: str, store: Store, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
    """python -m trainer, with its output: here, or with more in its environment in a process of its own.

    What a library reads from the environment it reads when it is imported, and importing them takes longer than most
    commands do.
    """
    if environment:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300,
            env=os.environ | {"ADAPTERS_STORE": str(store.root)} | environment,
        )  # fmt: skip
    else:
        done = _trainer_here(arguments, store)
    if check:
        assert done.returncode == 0, done.stderr + done.stdout
    return done


def _trainer_here(arguments: tuple[str, ...], store: Store) -> subprocess.CompletedProcess:
    out, errors, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setenv("ADAPTERS_STORE", str(store.root))
        patch.setattr(sys, "argv", ["trainer", *arguments])
        try:
            command_line.main()
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess(["trainer", *arguments], status, out.getvalue(), errors.getvalue())


@pytest.fixture(scope="session", autouse=True)
def worker_here() -> Iterator[None]:
    """What this process launches is trained by a worker in a thread of it: the libraries are imported once.

    Each run still has a process of its own, as `python -m trainer worker` starts it; that program itself works for
    the apps, for `suite` and for what runs in a process of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "ensure_worker", work_here)
        yield


@cache
def warm() -> Any:
    """The worker's own context for the processes of runs: here they are forked from one that is started once.

    It keeps the environment that it was started in: not that of the test which happens to come first.
    """
    from multiprocessing import forkserver

    context = worker._context()
    if context.get_start_method() == "forkserver":
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - ENVIRONMENT.keys():
                patch.delenv(name)
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
            forkserver.ensure_running()
    return context


def work_here(store: Store) -> threading.Thread:
    store.root.mkdir(parents=True, exist_ok=True)
    warm()
    thread = threading.Thread(target=worker.work, args=(Store(store.root),), daemon=True)
    thread.start()
    return thread


@contextmanager
def no_worker(store: Store) -> Iterator[None]:
    """Within it this process has the queue: another's worker ends at once, and what is launched waits."""
    store.root.mkdir(parents=True, exist_ok=True)
    started = []
    with FileLock(store.root / ".worker.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "ensure_worker", lambda store: started.append(work_here(store)))
        yield
        for thread in started:
            thread.join()  # one that comes only after this would find the queue free


@pytest.fixture(scope="session")
def suite(shared, tmp_path_factory, tiny_backbone, tiny_file, second_file):
    """All five methods through the command line, in one store: (store, what the command printed). Do not change it."""

    def make(folder: Path) -> None:
        done = trainer(
            "suite", "--task", str(tiny_file), "--backbone", str(tiny_backbone), "--label", "mine", "--track",
            "--set", "epochs=3", "--set", "batch_size=16", "--set", f"parent_tasks={tiny_file},{second_file}",
            store=Store(folder), WANDB_MODE="offline",
        )  # fmt: skip
        (folder / ".printed").write_text(done.stdout, encoding="utf-8")

    made, own = once(shared / "suite", make), tmp_path_factory.mktemp("suite") / "store"
    shutil.copytree(made, own, symlinks=True, ignore=shutil.ignore_patterns("*.lock"))
    printed = (own / ".printed").read_text(encoding="utf-8")
    return Store(own), subprocess.CompletedProcess(["trainer", "suite"], 0, printed, "")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def app_on(root: Path, **environment: str) -> Iterator[tuple[str, Store]]:
    """`python app.py` on a store, with more in its environment; yields (address, store)."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT,
        env=os.environ | {"ADAPTERS_STORE": str(root), "GRADIO_SERVER_PORT": str(port)} | environment,
    )  # fmt: skip
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 180
    try:
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < end, "the app did not answer within three minutes"
                assert process.poll() is None, "the app ended"
                time.sleep(0.2)
        yield address, Store(root)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def trained(suite, tmp_path_factory):
    """The app on a copy of the suite's store: (address, store)."""
    root = tmp_path_factory.mktemp("trained") / "store"
    shutil.copytree(suite[0].root, root, ignore=shutil.ignore_patterns(".*"))
    with app_on(root) as found:
        yield found


@pytest.fixture
def trained_page(open_page, trained):
    """A page of the app with a trained suite."""
    yield from open_page(trained[0])


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        found = playwright.chromium.launch(executable_path=chromium, args=[*arguments, "--disable-sync"])
        yield found
        found.close()


@pytest.fixture
def open_page(browser):
    """Opens an address; an error on the page's console, or a request that leaves this machine, fails the test."""

    def opened(address: str):
        yield from _opened(browser, address)

    return opened


@pytest.fixture
def page(open_page, served):
    """A page of the app that the test module serves."""
    yield from open_page(served[0])


OPEN: list[tuple[Any, list[str]]] = []
"""The open pages, each with what it sent to the queue and heard of it: shown where a test fails."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    for page, sent in OPEN if report.failed and report.when == "call" else ():
        with suppress(Exception):
            text = page.locator("body").inner_text(timeout=5_000)
            report.sections.append((f"page {page.url}", "\n".join([*sent[-40:], text[:4_000]])))
    return report


def _opened(browser, address: str):
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    found = context.new_page()
    found.set_default_timeout(120_000)
    errors, outside = [], []
    found.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on(
        "request",
        lambda r: outside.append(r.url) if not re.match(r"(https?://127\.0\.0\.1|data:|blob:)", r.url) else None,
    )
    sent, start = [], time.monotonic()

    def note(request, end: str) -> None:
        if "/queue/" in request.url:
            body = (request.post_data or "")[:300]
            sent.append(f"{time.monotonic() - start:.1f} {end} {request.url.rpartition('/')[2]} {body}")

    for end in ("request", "requestfinished", "requestfailed"):
        found.on(end, partial(note, end=end))
    OPEN.append((found, sent))
    found.goto(address)
    yield found
    OPEN.remove((found, sent))
    found.close()
    context.close()
    assert not [error for error in errors if not LEAVING.search(error)]
    assert not outside


def named_view(view: type) -> Any:
    """A dataclass of components with each field's name in its place: handlers then return dicts keyed by names."""
    return view(**{field.name: field.name for field in dataclasses.fields(view)})


def seen(update: dict[str, Any]) -> bool:
    """Whether the update of a component makes it seen: see `visibility.seen_if`."""
    return "lab-off" not in update["elem_classes"]


def shoot(page, name: str) -> None:
    """The tab as people see it: wide and narrow, light and dark; in CI, where nobody looks at them, no pictures."""
    pictures = not os.environ.get("CI")
    for scheme in ("light", "dark") if pictures else ("light",):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(f"document.body.classList.toggle('dark', {str(scheme == 'dark').lower()})")
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 1000})
            page.wait_for_timeout(400)
            if pictures:
                SHOTS.mkdir(exist_ok=True)
                page.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), (
                f"{name} scrolls sideways at {width} pixels"
            )
    page.evaluate("document.body.classList.remove('dark')")
    page.set_viewport_size({"width": 1440, "height": 1000})


def serious(page) -> list[str]:
    """What axe finds serious or critical on the page as it is, light and dark: rule and first place."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    page.add_style_tag(content="*, ::before, ::after { transition: none !important; }")  # no color on its way
    for dark in (False, True):
        page.evaluate(f"document.body.classList.toggle('dark', {str(dark).lower()})")
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                node = violation["nodes"][0]
                found.append(
                    f"{violation['id']} (dark={dark}): {node['html'][:300]} {node.get('failureSummary', '')[:300]}"
                )
    page.evaluate("document.body.classList.remove('dark')")
    return found
