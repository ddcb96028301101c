"""The Space's deployment and the push of a run, against a stand-in for the Hub's HTTP API; and the container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hub_stand_in
import pytest

from space_config import checks, deploy

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def hub():
    """The stand-in's state."""
    server, made = hub_stand_in.serve()
    yield made
    server.shutdown()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """This project as a git checkout of its own, with one large file: what the tests change is not this one."""
    folder = tmp_path_factory.mktemp("project")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "docs" / "large.png").write_bytes(os.urandom(hub_stand_in.LARGE + 1))
    git(folder, "init", "-q")
    commit(folder)
    (folder / "untracked.txt").write_text("a note to myself", encoding="utf-8")
    return folder


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A", "--", ".")
    git(folder, "commit", "-q", "-m", "all")


def deployed(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """python -m space_config.deploy in a checkout, knowing no token and no network but those given."""
    base = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_ENDPOINT")}
    return subprocess.run(
        [sys.executable, "-m", "space_config.deploy", *arguments], capture_output=True, text=True, cwd=project,
        timeout=120, env=base | {"HF_HOME": str(project.parent / "no-home")} | environment,
    )  # fmt: skip


def to(hub: hub_stand_in.Hub, **more: str) -> dict[str, str]:
    online = {"HF_ENDPOINT": hub.address, "HF_TOKEN": hub_stand_in.TOKEN, "HF_HUB_OFFLINE": "0"}
    return online | {"HF_HUB_DISABLE_XET": "1"} | more


SEND = ("teacher/lab", "--yes", "--no-resolve", "--pause", "0.05")


# Deploy


def test_a_dry_run_needs_no_token_and_no_network(project):
    done = deployed(project, "--dry-run", HF_ENDPOINT="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    for part in ("t4-small", "after 3600 s", "trainer (", "Not checked: whether the requirements", "Nothing was sent"):
        assert part in done.stdout
    assert "untracked.txt" in done.stdout.partition("Left out")[2].splitlines()[0]
    assert "untracked.txt" not in done.stdout.partition("Left out")[0]


def test_the_space_is_created_filled_and_waited_for(project, hub):
    hub.coming = [{"stage": "BUILDING"}, {"stage": "APP_STARTING"}, {"stage": "RUNNING"}]
    arguments = (*SEND, "--sleep-time", "900", "--variable", "WANDB_MODE=offline", "--secret", "PEFT_LAB_PASSWORD")
    done = deployed(project, *arguments, **to(hub, PEFT_LAB_PASSWORD="in the class"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"It runs: {hub.address}/spaces/teacher/lab")
    assert "app starting" in done.stdout
    assert "in the class" not in done.stdout + done.stderr
    space, files = hub.spaces["teacher/lab"], hub.of("teacher/lab")
    assert (space.hardware, space.sleep) == ("t4-small", 900)
    assert space.variables == deploy.VARIABLES | {"WANDB_MODE": "offline"}
    assert space.secrets == {"PEFT_LAB_PASSWORD": "in the class"}
    assert files["app.py"] == (project / "app.py").read_bytes()
    assert files["README.md"] == (project / "space_config" / "README.md").read_bytes()
    assert files["docs/large.png"] == (project / "docs" / "large.png").read_bytes()
    assert any(request.endswith("info/lfs/objects/batch") for request in hub.requests)
    assert "untracked.txt" not in files
    assert not hub.private["space", "teacher/lab"]


def test_run_again_it_changes_only_what_differs(project, hub):
    assert deployed(project, *SEND, **to(hub)).returncode == 0
    hub.requests.clear()
    again = deployed(project, *SEND, **to(hub))
    assert again.returncode == 0, again.stderr
    assert len(hub.commits) == 1
    posted = [one for one in hub.requests if one.startswith("POST")]
    assert not [one for one in posted if one.endswith(("hardware", "sleeptime", "variables")) or "/commit/" in one]
    hub.files["teacher/lab/left-over.py"] = b"old"
    hub.files["teacher/lab/app.py"] = b"changed by somebody"
    assert deployed(project, *SEND, "--sleep-time", "-1", **to(hub)).returncode == 0
    assert sorted(hub.commits[1]["changed"]) == ["app.py", "left-over.py"]
    assert "left-over.py" not in hub.of("teacher/lab")
    assert hub.spaces["teacher/lab"].sleep == -1


@pytest.mark.parametrize(
    ("path", "status", "message", "said"),
    [
        ("repos/create", 403, "You don't have the rights", "use a token that may write there"),
        ("/hardware", 402, "Payment required", "add a payment method"),
        ("commit/main", 500, "Internal error", "Expected the Hub to upload the files, got status 500"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(project, hub, path, status, message, said):
    hub.refuse[path] = (status, message)
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert said in last
    assert message in last
    assert "Traceback" not in done.stderr


def test_a_space_that_fails_says_why(project, hub):
    hub.coming = [{"stage": "BUILDING"}, {"stage": "RUNTIME_ERROR", "errorMessage": "Exit code 1.\nNo module named x"}]
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 1
    assert "got RUNTIME_ERROR: Exit code 1. No module named x; its log is at" in done.stderr
    hub.coming = [{"stage": "BUILDING"}]
    late = deployed(project, *SEND[:1], "--yes", "--no-resolve", "--pause", "0.05", "--minutes", "0", **to(hub))
    assert "within 0 minutes" in late.stderr


def test_an_old_build_that_still_runs_is_not_taken_for_the_new(project, hub):
    assert deployed(project, *SEND, **to(hub)).returncode == 0
    hub.files["teacher/lab/app.py"] = b"older"
    hub.coming = [{"stage": "RUNNING", "sha": "of the old commit"}, {"stage": "RUNNING_BUILDING"}, {"stage": "RUNNING"}]
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 0, done.stderr
    assert "running building" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        ((), {}, 2, "Expected the Space as owner/name"),
        (("teacher/lab", "--no-resolve", "--yes"), {"HF_HUB_OFFLINE": "0"}, 1, "a Hugging Face token that can write"),
        (("teacher/lab", "--secret", "NO_SUCH"), {}, 2, "Expected NO_SUCH in the environment"),
        (("--dry-run", "--variable", "wrong"), {}, 2, "Expected NAME=VALUE after --variable"),
        (("--dry-run", "--hardware", "t5-huge"), {}, 1, "Expected a Space's hardware"),
    ],
)
def test_wrong_arguments(project, arguments, environment, status, said):
    done = deployed(project, *arguments, **environment)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr


def test_without_an_answer_nothing_is_sent(project, hub):
    done = deployed(project, "teacher/lab", "--no-resolve", **to(hub))
    assert done.returncode == 1
    assert hub.requests == []


@pytest.fixture
def copy(project, tmp_path) -> Path:
    """A staged copy to spoil."""
    folder = tmp_path / "copy"
    folder.mkdir()
    deploy.stage(folder, project)
    assert checks.every_problem(folder, hardware="t4-small") == []
    return folder


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sdk_version: 6.17.3", "sdk_version: 6.30.0", "sdk_version within gradio<6.18,>=6.17.3, got 6.30.0"),
        ('python_version: "3.11"', 'python_version: "3.9"', "python_version >=3.11, got 3.9"),
        ("app_file: app.py", "app_file: main.py", "got no main.py"),
        ("suggested_hardware: t4-small", "suggested_hardware: t4", "got 't4'"),
        ("fullWidth: true", "fullWide: true", "got fullWide"),
        ("license: apache-2.0\n", "", "Expected license in the card"),
        ("colorTo: green", "colorTo: mauve", "Expected colorTo of"),
        ("title: PEFT Lab", "title: [PEFT", "got none that can be read"),
    ],
)
def test_a_wrong_card_is_named(copy, old, new, said):
    card = copy / "README.md"
    text = card.read_text(encoding="utf-8")
    assert old in text
    card.write_text(text.replace(old, new), encoding="utf-8")
    found = checks.every_problem(copy, hardware="t4-small")
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (".env", b"A=1", "got .env"),
        ("docs/server.key", b"", "got docs/server.key"),
        ("notes.md", b"token: hf_" + b"aB3" * 12, "got a Hugging Face token in notes.md"),
        ("notes.md", b"-----BEGIN " + b"OPENSSH PRIVATE KEY-----", "got a private key in notes.md"),
        ("model.bin", bytes(checks.MAX_FILE + 1), "got 10 MB in model.bin"),
    ],
)
def test_secrets_and_large_files_are_found(copy, name, content, said):
    (copy / name).write_bytes(content)
    (found,) = checks.every_problem(copy, hardware="t4-small")
    assert said in found


def test_requirements_that_do_not_go_together_are_said(copy, tmp_path, monkeypatch):
    """With an index of two distributions made here: what a Space adds meets what this asks for."""
    index = tmp_path / "index"
    index.mkdir()
    for version in ("1.0", "2.0"):
        wheel(index, "uvicorn", version)
    monkeypatch.setattr(checks, "ADDED", ("uvicorn==2.0",))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_EXTRA_INDEX_URL": ""}.items():
        monkeypatch.setenv(name, value)
    (copy / "requirements.txt").write_text("uvicorn>=1\n", encoding="utf-8")
    assert checks.resolve(copy) == ["uvicorn 2.0"]
    (copy / "requirements.txt").write_text("uvicorn<2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?i)conflict"):
        checks.resolve(copy)


def wheel(folder: Path, name: str, version: str) -> None:
    """An empty distribution that pip can read."""
    import zipfile

    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def test_the_card_names_what_the_lab_offers():
    from trainer import backbones, tasks

    card = checks.card_of(ROOT / "space_config")
    assert set(card["models"]) == {one.hub_id for one in backbones.BACKBONES.values()}
    assert set(card["datasets"]) == {one.repository for one in tasks.TASKS.values() if one.needs_hub}
