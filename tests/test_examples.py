"""The examples of docs/endpoints.md against an app, and those of docs/contributing.md in a copy of the program."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from conftest import ROOT, leave_out, no_worker
from test_cuda import computed_here, until_ready
from test_docs import blocks, prose, read, shell

from trainer import methods, tasks
from trainer.jobs import queue as jobs
from trainer.runs.metrics import METRICS
from trainer.runs.store import Store

HEALTH = ["ready", "reasons", "device", "problem", "store", "worker", "disk"]
ENDPOINTS, CONTRIBUTING = ROOT / "docs" / "endpoints.md", ROOT / "docs" / "contributing.md"
ADDRESS = "http://127.0.0.1:7860"


# The endpoints


@pytest.fixture
def lab(trained):
    """The app with a trained suite: (address, store). What an example launches is not trained, and is gone after it."""
    _, store = trained
    before = {run.id for run in store.list()}
    with no_worker(store):
        yield trained
        for run in store.list():
            if run.id not in before:
                if run.state == "queued":
                    jobs.cancel(store, run.id)
                store.delete(run.id)


def section(name: str) -> str:
    return read(ENDPOINTS).partition(f"## /{name}\n")[2].partition("\n## ")[0]


def table(text: str, *, heading: str) -> list[str]:
    """The names in the first column of the table whose first heading is this."""
    rows = re.search(rf"^\| {heading} \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [name for row in rows[1].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


CLIENTS = [
    (page.name, block)
    for page in (ENDPOINTS, ROOT / "README.md", ROOT / "docs" / "deployment.md")
    for language, block in blocks(read(page))
    if language in ("python", "") and "gradio_client" in block
]


@pytest.mark.parametrize(("page", "code"), CLIENTS, ids=[f"{page}-{place}" for place, (page, _) in enumerate(CLIENTS)])
def test_the_python_examples(page, code, lab):
    address, _ = lab
    code = code.replace(ADDRESS, address).replace("you/peft-lab", address)
    assert address in code
    with redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    printed = re.sub(r"^Loaded as API: .*\n", "", out.getvalue()).strip()
    assert bool(printed) == ("print(" in code)
    if "AppError" in code:
        (told,) = [block for language, block in blocks(read(ENDPOINTS)) if language == "text"]
        assert told.strip() in printed


def test_the_curl_examples(lab):
    """Each pair: what is sent, and what is then waited for."""
    if shutil.which("curl") is None:
        leave_out("no curl here: install Debian's package curl to run these examples")
    address, store = lab
    sent, answers = {}, {}
    finished = next(run.id for run in store.list() if run.state == "finished")
    every = [line for language, block in blocks(read(ENDPOINTS)) if language == "bash" for line in shell(block)]
    assert len(every) == 11
    (direct,) = [command for command in every if "/call/" not in command]
    told = subprocess.run(["bash", "-c", direct.replace(ADDRESS, address)], capture_output=True, timeout=120)
    assert list(json.loads(told.stdout)) == HEALTH
    assert until_ready(address) == computed_here()
    for command in every:
        if command == direct:
            continue
        name = re.search(r"/call/(\w+)", command)[1]
        command = command.replace(ADDRESS, address).replace("EVENT_ID", sent.get(name, "")).replace("RUN", finished)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        if "-X POST" in command:
            sent[name] = json.loads(done.stdout)["event_id"]
        else:
            kind, data = re.findall(r"^event: (\w+)\ndata: (.*)$", done.stdout, re.MULTILINE)[-1]
            answers[name] = kind, json.loads(data)
    assert set(answers) == {"predict", "runs", "compare", "launch", "cancel"}
    for name in ("predict", "runs", "compare", "launch"):
        kind, (output,) = answers[name]
        assert kind == "complete"
        assert len(output) >= 1
    kind, told = answers["cancel"]
    assert kind == "error", "the example's run has ended"
    assert "Expected a run that waits or trains" in told["error"]


def test_the_tables_say_what_goes_in_and_comes_out(lab):
    from gradio_client import Client

    from trainer.ui.live import tab as live_tab
    from trainer.ui.train import api as train_api

    client = Client(lab[0], verbose=False)
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert [f"/{name}" for name in re.findall(r"^## /(\w+)$", read(ENDPOINTS), re.MULTILINE)] == list(
        dict.fromkeys(["/predict", "/runs", "/compare", "/launch", "/cancel"])
    )
    for name, function in (
        ("predict", live_tab.predict_api),
        ("launch", train_api.launch_api),
        ("cancel", train_api.cancel_api),
    ):
        inputs = [one["parameter_name"] for one in named[f"/{name}"]["parameters"]]
        own = [one for one in inspect.signature(function).parameters if one not in ("lab", "request")]
        assert table(section(name), heading="input") == inputs == own
    fields = table(read(ENDPOINTS).partition("## Health\n")[2], heading="field")
    assert fields == HEALTH
    answers = {
        name: client.predict(*given, api_name=f"/{name}")
        for name, given in (("predict", ("the film is warm",)), ("runs", ()), ("compare", ()))
    }
    for name, found in answers.items():
        assert table(section(name), heading="field") == list(found[0]), name
    assert sum(answers["predict"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    titles = re.findall(r"^\| `(\w+)` \| number or null \| (.+?) \|$", section("compare"), re.MULTILINE)
    assert titles == [(metric.key, metric.title) for metric in METRICS.values()]
    assert {run["method"] for run in answers["runs"]} == set(methods.DEFAULT)


# The contributors' guide


def copied(folder: Path) -> Path:
    """A copy of the program, without runs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("adapters_store/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """A copy in which the contributors' guide's files are written and its changes made."""
    folder = copied(tmp_path_factory.mktemp("copy") / "peft-lab")
    for language, block in blocks(read(CONTRIBUTING)):
        first, _, rest = block.partition("\n")
        if language == "python":
            (folder / first.removeprefix("# ")).write_text(rest, encoding="utf-8")
        elif language == "diff":
            change(folder / first.removeprefix(" # "), rest.splitlines())
    return folder


def change(path: Path, lines: list[str]) -> None:
    """What a diff without line numbers says: the lines that it starts from must be there, once."""
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    text = read(path)
    assert text.count(before) == 1, f"{path.name} does not have {before!r} once"
    path.write_text(text.replace(before, after), encoding="utf-8")


def in_copy(folder: Path, *commands: list[str], **environment: str) -> list[str]:
    """Commands of the guide in the copy, side by side; what each said."""
    running = [
        subprocess.Popen(
            [sys.executable, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env=os.environ | {"ADAPTERS_STORE": str(folder / "runs")} | environment,
        )
        for command in commands
    ]  # fmt: skip
    said = [process.communicate(timeout=600)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said
    return said


def test_the_contributors_method_and_task_work(program, tiny_backbone):
    """The guide's own commands, with fewer sentences: the contract tests, a run of each, what picks them up."""
    small = f"--backbone {tiny_backbone} --set train_size=100 --set validation_size=50 --set test_size=50"
    guide = [line for language, block in blocks(read(CONTRIBUTING)) if language == "bash" for line in shell(block)]
    assert "python -m pytest tests/test_methods.py -k psoft" in guide
    written = ["tests/test_run_format.py", "tests/test_peft_family.py"]
    in_copy(program, *(["python", file] for file in written), PYTHONPATH=".")
    assert "`psoft`" in read(program / "docs" / "methods.md")
    assert "options_psoft" in json.loads(read(program / "docs" / "run.schema.json"))["$defs"]
    # The contract's tests, and that the schema is that of the program's models, in one process.
    files = [f"tests/test_{name}.py" for name in ("methods", "run_format")]
    chosen = ["-q", "-k", "psoft or is_what_the_programs_models_say"]
    (said,) = in_copy(program, ["python", "-m", "pytest", *files, *chosen])
    assert int(re.search(r"(\d+) passed", said)[1]) > 9
    # Both at once, so that one worker trains both.
    said = in_copy(
        program,
        f"python -m trainer run --method psoft --task movies --set epochs=1 {small}".split(),
        f"python -m trainer run --method lora --task strength --set epochs=1 {small}".split(),
    )
    assert all("test accuracy" in one for one in said)
    runs = {run.recipe.method: run for run in Store(program / "runs").list()}
    assert {(run.recipe.method, run.recipe.task, run.state) for run in runs.values()} == {
        ("psoft", "movies", "finished"), ("lora", "strength", "finished"),
    }  # fmt: skip
    assert set(runs["lora"].label_names) == {"mild", "strong"}
    # The command line and the page have them.
    code = (
        "import sys; from trainer.cli import main;"
        "from trainer import methods; print(list(methods.METHODS), file=sys.stderr);"
        "sys.argv[1:] = ['predict', 'warm', '--json']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=program, capture_output=True, text=True,
        env=os.environ | {"ADAPTERS_STORE": str(program / "runs")},
    )  # fmt: skip
    assert "psoft" in done.stderr
    assert len(json.loads(done.stdout)) == 2


def test_the_translators_commands(tmp_path):
    """All of docs/translating.md but the app's start, in its order, in a copy: the texts are collected and compiled."""
    folder = copied(tmp_path / "peft-lab")
    blocks_ = [block for _, block in blocks(read(ROOT / "docs" / "translating.md"))]
    every = [line for block in blocks_ for line in shell(block) if line.startswith(("pybabel ", "rm "))]
    names = [line.split()[1] for line in every]
    assert names == ["extract", "update", "messages.pot", "compile", "init"]
    for line in [*every[:4], every[0], every[4]]:
        line = line.replace("pybabel", f"{sys.executable} -m babel.messages.frontend")
        done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    for language in ("hi", "fr"):
        assert read(folder / f"trainer/locale/{language}/LC_MESSAGES/peft_lab.po").count("\nmsgid ") > 100


def test_the_contributors_code_is_as_ruff_wants_it(program):
    files = [
        block.partition("\n")[0].removeprefix("# ") for kind, block in blocks(read(CONTRIBUTING)) if kind == "python"
    ]
    assert len(files) == 1
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *files], cwd=program, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_the_guides_places_are_there():
    text = prose(read(CONTRIBUTING))
    for name in re.findall(r"`((?:trainer|tests|docs|space_config|benchmarks|\.ci)/[\w./]*|\w+\.py)`", text):
        found = (ROOT / name).exists() or (ROOT / "trainer" / name).exists() or list(ROOT.glob(f"*/*/{name}"))
        assert found or list(ROOT.glob(f"*/{name}")), name
    from conftest import __dict__ as fixtures

    for name in ("own_store", "tiny_backbone", "tiny_file", "suite", "trained", "trained_page", "open_page", "app_on"):
        assert name in fixtures
        assert f"`{name}`" in text
    assert "strength" not in tasks.TASKS, "an example that became real needs another"
    assert "psoft" not in methods.METHODS
