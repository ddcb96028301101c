"""The Space's deployment and the push of a run, against a stand-in for the Hub's HTTP API; and the container."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import hub_stand_in
import pytest
from conftest import free_port, trainer

from space_config import checks, deploy
from trainer import methods
from trainer.errors import UserError
from trainer.publish import bundled
from trainer.runs.store import Store
from trainer.serving import predictor as inference
from trainer.sources import assets

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def hub():
    """The stand-in's state."""
    server, made = hub_stand_in.serve()
    yield made
    server.shutdown()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """This project as `whole` has it, but for the megabytes of the example runs, which every upload would hash."""
    return checkout(tmp_path_factory.mktemp("project"), leave_out="adapters_store/")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """This project as a git checkout of its own, with one large file: what the tests change is not this one."""
    return checkout(tmp_path_factory.mktemp("whole"))


def checkout(folder: Path, *, leave_out: str | None = None) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not (leave_out and name.startswith(leave_out)):
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


def test_a_dry_run_needs_no_token_and_no_network(whole):
    done = deployed(whole, "--dry-run", HF_ENDPOINT="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    for part in ("t4-small", "after 3600 s", "trainer (", "Not checked: whether the requirements", "Nothing was sent"):
        assert part in done.stdout
    assert "torch       2.13.0+cu126 from https://download.pytorch.org/whl/cu126" in done.stdout
    assert "untracked.txt" in done.stdout.partition("Left out")[2].splitlines()[0]
    assert "untracked.txt" not in done.stdout.partition("Left out")[0]


def test_the_space_is_created_filled_and_waited_for(whole, hub):
    hub.coming = [{"stage": "BUILDING"}, {"stage": "APP_STARTING"}, {"stage": "RUNNING"}]
    arguments = (*SEND, "--sleep-time", "900", "--variable", "WANDB_MODE=offline", "--secret", "PEFT_LAB_PASSWORD")
    done = deployed(whole, *arguments, **to(hub, PEFT_LAB_PASSWORD="in the class"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"It runs: {hub.address}/spaces/teacher/lab")
    assert "app starting" in done.stdout
    assert "in the class" not in done.stdout + done.stderr
    space, files = hub.spaces["teacher/lab"], hub.of("teacher/lab")
    assert (space.hardware, space.sleep) == ("t4-small", 900)
    assert space.variables == deploy.VARIABLES | {"WANDB_MODE": "offline"}
    assert space.secrets == {"PEFT_LAB_PASSWORD": "in the class"}
    assert files["app.py"] == (whole / "app.py").read_bytes()
    assert files["README.md"] == (whole / "space_config" / "README.md").read_bytes()
    head = (whole / "space_config" / checks.TORCH).read_bytes()
    assert files["requirements.txt"] == head + (whole / "requirements.txt").read_bytes()
    assert "It computes on Tesla T4, in fp16." in done.stdout
    assert hub.tokens == [None], "a public Space is sent no token"
    assert files["docs/large.png"] == (whole / "docs" / "large.png").read_bytes()
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
    assert hub.of("teacher/lab")["app.py"] == (project / "app.py").read_bytes()
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
    late = deployed(project, "teacher/late", "--yes", "--no-resolve", "--pause", "0.05", "--minutes", "0", **to(hub))
    assert "within 0 minutes" in late.stderr


def test_an_old_build_that_still_runs_is_not_taken_for_the_new(project, hub):
    assert deployed(project, *SEND, **to(hub)).returncode == 0
    hub.files["teacher/lab/app.py"] = b"older"
    hub.coming = [{"stage": "RUNNING", "sha": "of the old commit"}, {"stage": "RUNNING_BUILDING"}, {"stage": "RUNNING"}]
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 0, done.stderr
    assert "running building" in done.stdout


@pytest.mark.parametrize("ends", ["RUNNING", "BUILD_ERROR"])
def test_a_failure_of_an_earlier_commit_is_not_taken_for_the_new(project, hub, ends):
    assert deployed(project, *SEND, **to(hub)).returncode == 0
    hub.files["teacher/lab/app.py"] = b"older"
    old = {"stage": "RUNTIME_ERROR", "sha": "of the old commit", "errorMessage": "of old"}
    hub.coming = [old, old, {"stage": "BUILDING"}, {"stage": ends, "errorMessage": "of now"}]
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == (ends != "RUNNING"), done.stderr
    assert "building" in done.stdout
    assert ("got BUILD_ERROR: of now" in done.stderr) == (ends != "RUNNING")
    assert "of old" not in done.stderr


def test_an_old_failure_that_stays_ends_the_wait(project, hub):
    hub.coming = [{"stage": "BUILD_ERROR", "sha": "of the old commit", "errorMessage": "of old"}]
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 1
    assert "got BUILD_ERROR: of old" in done.stderr
    assert len([one for one in hub.requests if one.endswith("/runtime")]) > deploy.LOOKS


@pytest.mark.parametrize("changed", [True, False])
def test_a_paused_space_is_restarted(project, hub, changed):
    assert deployed(project, *SEND, **to(hub)).returncode == 0
    hub.spaces["teacher/lab"].paused = True
    if changed:
        hub.files["teacher/lab/app.py"] = b"older"
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 0, done.stderr
    assert "it is restarted" in done.stdout
    assert hub.requests.count("POST api/spaces/teacher/lab/restart") == 1


def test_what_is_asked_to_be_private_is_not_sent_where_everybody_sees_it(project, hub):
    assert deployed(project, *SEND, "--private", **to(hub)).returncode == 0
    assert hub.private["space", "teacher/lab"]
    assert deployed(project, *SEND, "--private", **to(hub)).returncode == 0
    hub.private["space", "teacher/lab"] = False
    hub.requests.clear()
    hub.files["teacher/lab/app.py"] = b"older"
    done = deployed(project, *SEND, "--private", "--secret", "MINE", **to(hub, MINE="one"))
    assert done.returncode == 1
    assert "Expected a private Space, got teacher/lab, which is public; make it private" in done.stderr
    assert hub.files["teacher/lab/app.py"] == b"older"
    assert hub.spaces["teacher/lab"].secrets == {}


ON_CPU = {"ready": True, "device": {"kind": "cpu", "name": "Intel Xeon", "precision": "bf16"}, "problem": None}
TOO_OLD = "Expected torch to compute on the Tesla T4 (driver 550.54.15), got torch 2.13.0+cu130; install another."


def test_a_space_on_a_gpu_is_waited_for_until_it_computes_there(project, hub):
    """Whatever it answers before its program is up."""
    starting = {"ready": False, "device": None, "problem": None}
    hub.health = [404, 503, 200, starting, hub_stand_in.ON_CUDA]
    done = deployed(project, *SEND, "--private", **to(hub))
    assert done.returncode == 0, done.stderr
    assert "It computes on Tesla T4, in fp16." in done.stdout
    assert hub.tokens == [f"Bearer {hub_stand_in.TOKEN}"] * 5, "a private Space answers its owner alone"


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (ON_CPU | {"problem": TOO_OLD}, f"got {TOO_OLD.rstrip('.')}; mend that and deploy again; its log is at"),
        (ON_CPU, "got Intel Xeon, and no NVIDIA GPU; restart the Space in its settings, or choose other hardware"),
        ({"ready": False, "device": None, "problem": "Something went wrong."}, "got Something went wrong; mend that"),
        (404, "/host/teacher/lab/health within 0 minutes what it computes on, got status 404; its log is at"),
        (200, "within 0 minutes what it computes on, got JSONDecodeError; its log is at"),
    ],
)
def test_a_space_on_a_gpu_that_computes_elsewhere_is_said(hub, health, said):
    hub.health, hub.private["space", "teacher/lab"] = [health], False
    space = SimpleNamespace(host=f"{hub.address}/host/teacher/lab", private=False)
    api = SimpleNamespace(endpoint=hub.address, space_info=lambda name: space)  # this process is offline to the Hub
    plan = deploy.Plan("teacher/lab", "t4-small", 3600)
    with pytest.raises(UserError, match=re.escape(said)):
        deploy.wait_for_cuda(api, plan, print, minutes=0, pause=0)


def test_a_space_that_does_not_compute_on_its_gpu_ends_the_deployment(project, hub):
    hub.health = [ON_CPU | {"problem": TOO_OLD}]
    done = deployed(project, *SEND, **to(hub))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("Expected a Space that computes on CUDA on t4-small, got")
    assert "It runs" not in done.stdout


def test_a_space_without_a_gpu_is_not_asked_what_it_computes_on(project, hub):
    hub.health = [ON_CPU]
    done = deployed(project, *SEND, "--hardware", "cpu-basic", **to(hub))
    assert done.returncode == 0, done.stderr
    assert hub.tokens == []
    assert b"torch==2.13.0+cu126" in hub.of("teacher/lab")["requirements.txt"], "a GPU can be chosen in its settings"


def test_zero_gpu_takes_torch_from_the_package_index(project):
    done = deployed(project, "--dry-run", "--hardware", "zero-a10g")
    assert done.returncode == 0, done.stderr
    assert "torch       as the package index has it" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        ((), {}, 2, "Expected the Space as owner/name"),
        (("teacher/lab", "--no-resolve", "--yes"), {"HF_HUB_OFFLINE": "0"}, 1, "a Hugging Face token that can write"),
        (("teacher/lab", "--secret", "NO_SUCH"), {}, 2, "Expected NO_SUCH in the environment"),
        (("--dry-run", "--variable", "wrong"), {}, 2, "Expected NAME=VALUE after --variable"),
        (("--dry-run", "--variable", "PEFT_LAB_PASSWORD=x"), {}, 2, "give --secret PEFT_LAB_PASSWORD"),
        (("--dry-run", "--variable", "hf_token=x"), {}, 2, "got hf_token, which holds a secret by its name"),
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
    checks.lay_torch(folder, "t4-small")
    assert checks.every_problem(folder, hardware="t4-small") == []
    return folder


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sdk_version: 6.17.3", "sdk_version: 6.30.0", "sdk_version within gradio<6.18,>=6.17.3, got 6.30.0"),
        ('python_version: "3.11"', 'python_version: "3.9"', "python_version >=3.11,<3.14, got 3.9"),
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


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("torch==2.13.0+cu126", "torch==2.14.0+cu126", "torch's build within torch<2.14,>=2.13, got 2.14.0+cu126"),
        (
            "torch==2.13.0+cu126",
            "torch==2.13.0+cu130",
            "torch's index for cu130, got https://download.pytorch.org/whl/cu126",
        ),
        ("torch==2.13.0+cu126\n", "", "Expected an index and torch's exact build"),
        ("--extra-index-url https", "# https", "Expected an index and torch's exact build"),
        ("cu126", "cu127", "Expected bitsandbytes to have libbitsandbytes_cuda127.so, got none here"),
    ],
)
def test_a_wrong_build_of_torch_is_named(copy, old, new, said):
    path = copy / "requirements.txt"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    (found,) = checks.every_problem(copy, hardware="t4-small")
    assert said in found
    assert checks.every_problem(copy, hardware="zero-a10g") == []


WHEEL = "torch-{}-cp{}-cp{}-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    ("wheels", "said"),
    [
        ([WHEEL.format("2.12.1+cu126", 311, 311), WHEEL.format("2.13.0+cu126", 311, 311)], None),
        ([WHEEL.format("2.9.0+cu126", 311, 311), WHEEL.format("2.12.1+cu126", 311, 311)], "got 2.12.1+cu126 as its"),
        ([WHEEL.format("2.13.0+cu126", 312, 312)], "Expected torch 2.13.0+cu126 for Python 3.11 at"),
        ([WHEEL.format("2.13.0+cu126", 311, "311t")], "got no build for it; put a version that is there"),
        (["torch-2.13.0+cu126-cp311-cp311-win_amd64.whl", "torch-2.13.0+cu126.tar.gz"], "got no build for it"),
        (["torch-2.13.0+cu126-cp311-cp311-manylinux_2_28_aarch64.whl"], "got no build for it"),
        ([], "got no build for it"),
    ],
)
def test_torchs_index_is_asked_for_the_build(copy, hub, wheels, said):
    hub.wheels["cu126"] = wheels
    at(copy / "requirements.txt", hub.address)
    found = checks.missing_wheel(copy)
    assert found is None if said is None else said in found
    hub.refuse["torch"] = (503, "no")
    assert "got status 503; check the network" in checks.missing_wheel(copy)
    at(copy / "requirements.txt", "http://127.0.0.1:1")
    assert "got ConnectionError; check the network" in checks.missing_wheel(copy)


def at(path: Path, address: str) -> None:
    """Let the lines that choose torch's build name another index."""
    lines = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"(--extra-index-url )\S+(?=/whl/)", rf"\g<1>{address}", lines), encoding="utf-8")


def test_without_its_build_of_torch_nothing_is_uploaded(project, hub, tmp_path):
    """The whole command, on a checkout whose lines name the stand-in's index."""
    checkout = tmp_path / "checkout"
    shutil.copytree(project, checkout)
    at(checkout / "space_config" / checks.TORCH, hub.address)
    commit(checkout)
    hub.wheels["cu126"] = [WHEEL.format("2.12.1+cu126", 311, 311)]
    done = deployed(checkout, "teacher/lab", "--yes", "--pause", "0.05", **to(hub))
    assert done.returncode == 1
    assert f"Expected torch 2.13.0+cu126 for Python 3.11 at {hub.address}/whl/cu126/torch/" in done.stderr
    assert hub.requests == ["GET whl/cu126/torch"]


def test_pip_takes_the_build_for_an_older_cuda(tmp_path, monkeypatch):
    """With two indexes made here: of a range pip takes a patch release that only one has; the exact build it finds."""
    for folder, version in (("index", "2.13.0"), ("index", "2.13.1"), ("whl/cu126", "2.13.0+cu126")):
        (tmp_path / folder / "torch").mkdir(parents=True, exist_ok=True)
        wheel(tmp_path / folder / "torch", "torch", version)
    for folder in (tmp_path / "index", tmp_path / "whl" / "cu126"):
        names = [path.name for path in (folder / "torch").glob("*.whl")]
        rows = [f'<a href="{name.replace("+", "%2B")}">{name}</a>' for name in names]
        (folder / "torch" / "index.html").write_text("\n".join(rows), encoding="utf-8")
    for name, value in {"CONFIG_FILE": os.devnull, "INDEX_URL": (tmp_path / "index").as_uri()}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(checks, "ADDED", ())
    (tmp_path / "README.md").write_text(f"---\npython_version: '3.{sys.version_info[1]}'\nsdk_version: 1\n---\n")
    head = (ROOT / "space_config" / checks.TORCH).read_text(encoding="utf-8")
    head = head.replace("https://download.pytorch.org", tmp_path.as_uri())
    for lines, taken in ((head, "2.13.0+cu126"), (head.replace("torch==2.13.0+cu126\n", ""), "2.13.1")):
        (tmp_path / "requirements.txt").write_text(f"{lines}torch>=2.13,<2.14\n", encoding="utf-8")
        assert checks.resolve(tmp_path) == [f"torch {taken}"]


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


# Push


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory, tiny_file):
    """All five methods on the real embedded backbone: the example runs as a person's own, and full fine-tuning, hardly
    trained, for its weights do not come with the program: {method: run}.
    """
    store, label = Store(tmp_path_factory.mktemp("small")), "pushed | by hand"
    for folder in bundled.BUNDLED.glob("*-s0-bundled"):
        shutil.copytree(folder, store.root / folder.name)
        path = store.root / folder.name / "run.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["lineage"]["bundled"]
        own = content["recipe"]["task"] == "movies" and content["recipe"]["method"] != "full"
        path.write_text(json.dumps(content | {"label": label if own else ""}), encoding="utf-8")
    trainer(
        "suite", "--method", "full", "--task", str(tiny_file), "--backbone", "minilm", "--label", label,
        "--set", "epochs=1", "--set", "train_size=32", "--set", "validation_size=16", "--set", "test_size=16",
        "--set", "precision=fp32", store=store,
    )  # fmt: skip
    return store, {run.recipe.method: run for run in store.list() if run.label == label}


def test_a_pushed_run_opens_with_its_library_alone(small_runs, hub, tmp_path):
    """The code on each card, as it stands there, in a process that knows only the Hub; and the same answer as ours."""
    from huggingface_hub import ModelCard

    store, runs = small_runs
    assert set(runs) == set(methods.DEFAULT)
    codes = {}
    for method, run in runs.items():
        done = trainer("push", run.id, "--repo", f"me/{method}", store=store, **to(hub))
        assert done.stdout.rstrip().endswith(f"files are at {hub.address}/me/{method}")
        files = hub.of(f"me/{method}")
        saved = {p.relative_to(run.model_folder).as_posix() for p in run.model_folder.rglob("*") if p.is_file()}
        assert set(files) == saved | {"README.md", ".gitattributes"}
        assert not [name for name, data in files.items() if str(store.root).encode() in data or b"/tmp/" in data]
        card = ModelCard(files["README.md"].decode())
        assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
        assert card.data.license == "apache-2.0"
        measured = {one.metric_type: one.metric_value for one in card.data.eval_results}
        assert measured["accuracy"] == run.result.test.accuracy
        assert measured["f1"] == run.result.test.macro.f1
        codes[method] = card.text.split("```python\n")[1].split("```")[0]

    for path in assets.minilm().iterdir():
        hub.files[f"sentence-transformers/all-MiniLM-L6-v2/{path.name}"] = path.read_bytes()
    script = "import json, sys\nfor code in json.load(sys.stdin): exec(code, {})"
    opened = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(list(codes.values())), capture_output=True, text=True,
        cwd=tmp_path, timeout=300, env=os.environ | to(hub, HF_HOME=str(tmp_path / "home")),
    )  # fmt: skip
    assert opened.returncode == 0, opened.stderr
    printed = [line for line in opened.stdout.splitlines() if line.startswith("{")]
    predictor = inference.Predictor(store)
    for method, line in zip(codes, printed, strict=True):
        (ours,) = predictor.predict("A warm, funny film.", [runs[method]])
        # On CPUs with bf16 the program asks in bf16, and 4-bit weights have a kernel of their own.
        assert ast.literal_eval(line) == pytest.approx(ours.probabilities, abs=0.03), method


def test_a_push_again_changes_what_differs_and_spares_what_is_not_ours(small_runs, hub):
    store, runs = small_runs
    push = ("push", runs["lora"].id, "--repo", "me/pushed")
    for _ in range(2):
        trainer(*push, "--private", store=store, **to(hub))
    assert len(hub.commits) == 1
    assert hub.private["model", "me/pushed"]
    hub.files["me/pushed/somebody-elses.bin"] = b"1"
    done = trainer(*push, store=store, check=False, **to(hub))
    assert done.returncode == 2
    assert "got me/pushed with somebody-elses.bin; choose another owner/name" in done.stderr
    assert "me/pushed/somebody-elses.bin" in hub.files


def test_a_private_push_is_not_sent_where_everybody_sees_it(small_runs, hub):
    store, runs = small_runs
    push = ("push", runs["lora"].id, "--repo", "me/open")
    hub.private["model", "me/open"] = False
    done = trainer(*push, "--private", store=store, check=False, **to(hub))
    assert done.returncode == 1
    assert "Expected a private repository, got me/open, which is public; make it private" in done.stderr
    assert not hub.commits
    trainer(*push, store=store, **to(hub))
    assert len(hub.commits) == 1


def test_what_cannot_be_pushed_is_said(small_runs, hub, own_store):
    store, runs = small_runs
    name = runs["full"].id
    no_token = to(hub) | {"HF_TOKEN": "", "HF_HOME": str(own_store.root)}
    waiting = own_store.create(runs["full"].recipe)
    nowhere = to(hub) | {"HF_ENDPOINT": "http://127.0.0.1:1"}
    for arguments, where, environment, said in (
        ((name, "--repo", "pushed"), store, to(hub), "Expected a repository as owner/name"),
        ((waiting.id, "--repo", "me/x"), own_store, to(hub), "which is queued"),
        ((name, "--repo", "me/x"), store, no_token, "a Hugging Face token that can write"),
        (
            (name, "--repo", "me/x"),
            store,
            nowhere,
            "Expected the Hub to create",
        ),
    ):
        done = trainer("push", *arguments, store=where, check=False, **environment)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not hub.commits


def test_a_card_names_no_folder_of_this_machine(suite):
    """Of runs on a backbone and files of a person's own."""
    from trainer.publish import push

    store, _ = suite
    for run in store.list():
        text = push.card(run, "me/x")
        assert "/tmp" not in text
        assert "base_model" not in text
        assert "tiny-bert" in text


@pytest.mark.parametrize("name", ["two\nlines", "a|b", "<b>bold", "tab\tand \r\n more"])
def test_a_label_of_any_signs_leaves_the_cards_tables_whole(name, suite):
    """Each of their lines has the cells of its heading."""
    from trainer.publish import push

    run = next(run for run in suite[0].list() if run.recipe.method == "lora")
    names = (name, *run.label_names[1:])
    meta = run.result.meta_info
    data = meta.dataset_info.model_copy(update={"label_names": names})
    per_class = {new: run.result.test.per_class[old] for new, old in zip(names, run.label_names, strict=True)}
    result = run.result.model_copy(
        update={
            "meta_info": meta.model_copy(update={"dataset_info": data}),
            "test": run.result.test.model_copy(update={"per_class": per_class}),
        }
    )
    text = push.card(run.model_copy(update={"result": result}), "me/x")
    width = 0
    for line in text.splitlines():
        bars = line.replace("\\|", "").count("|")
        if line.startswith("|"):
            width = width or bars
            assert bars == width, line
        else:
            width = 0
    assert "<b>" not in re.sub("```.*?```", "", text, flags=re.DOTALL)


# The card


def test_the_card_names_what_the_lab_offers():
    from trainer import tasks
    from trainer.sources import backbones

    card = checks.card_of(ROOT / "space_config")
    assert set(card["models"]) == {one.hub_id for one in backbones.BACKBONES.values()}
    assert set(card["datasets"]) == {one.repository for one in tasks.TASKS.values() if one.needs_hub}


# The container: its engine is not needed to hold what its file says against what is here


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest) of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def test_the_container_is_not_root_and_keeps_its_runs_on_a_volume():
    found = instructions()
    names = [name for name, _ in found]
    rest = dict(found)
    assert found[0] == ("FROM", "python:3.11-slim")
    assert names.index("USER") < names.index("CMD")
    assert rest["USER"] not in ("root", "0")
    assert rest["VOLUME"] == environment_of(found)["ADAPTERS_STORE"]
    assert rest["EXPOSE"] == environment_of(found)["GRADIO_SERVER_PORT"]
    torch = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match("^torch", line)]
    assert len(torch) == 1, "the Dockerfile takes torch's line by its beginning"


def environment_of(found: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for name, rest in found if name == "ENV" for pair in rest.split())


def sent(path: str) -> bool:
    """Whether the builder sees a file, by its path from the root: the last line of .dockerignore that fits decides.

    A pattern fits a path, or a folder that it lies in; `*` stays within a name, `**` does not.
    """
    whole, seen = path.split("/"), True
    above = ["/".join(whole[:count]) for count in range(1, len(whole) + 1)]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = re.split(r"(\*\*/|\*)", pattern)
        written = "".join({"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
        if any(re.fullmatch(written, one) for one in above):
            seen = line.startswith("!")
    return seen


def test_the_container_gets_the_bundled_runs_and_nobodys_own():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    runs = [name for name in filter(None, tracked.split("\0")) if name.startswith("adapters_store/")]
    assert len([name for name in runs if name.endswith("run.json")]) > 1
    assert [name for name in runs if not sent(name)] == []
    for own in ("lora-movies-minilm-s0-1a2b3c4d/run.json", ".files/ab12/pupils.csv", ".worker.log", "notes.txt"):
        assert not sent(f"adapters_store/{own}"), own
    assert not sent(f"adapters_store/{Path(runs[-1]).parts[1]}/.working")
    assert not sent("trainer/__pycache__/store.cpython-311.pyc")
    assert not sent("tests/conftest.py")


def test_what_the_container_copies_serves_and_is_found_healthy(tmp_path):
    """The Dockerfile's own COPY, ENV, CMD and HEALTHCHECK, with its folders in a temporary place."""
    found = instructions()
    app = tmp_path / "app"
    app.mkdir()
    for name, rest in found:
        if name == "COPY":
            *sources, target = [part for part in rest.split() if not part.startswith("--")]
            for source in sources:
                files = [path for path in (ROOT / source).rglob("*") if path.is_file()] or [ROOT / source]
                files = [path.relative_to(ROOT).as_posix() for path in files]
                files = [path for path in files if sent(path)]
                assert files, f"the builder does not see {source}"
                for path in files:
                    # A folder is copied into its target, a file under its own name.
                    inside = Path(target) / Path(path).relative_to(source)
                    (app / inside).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / path, app / (inside if (ROOT / source).is_dir() else source))
    port = str(free_port())
    environment = {
        name: value.replace("/store", str(tmp_path / "store")) for name, value in environment_of(found).items()
    }
    environment |= {"GRADIO_SERVER_PORT": port, "PEFT_LAB_CACHE": str(assets.cache_folder())}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    rest = dict(found)
    health = json.loads(rest["HEALTHCHECK"].partition("CMD ")[2])
    command = [sys.executable, *json.loads(rest["CMD"])[1:]]

    def healthy() -> bool:
        return subprocess.run([sys.executable, *health[1:]], env=environment, capture_output=True).returncode == 0

    assert not healthy()
    process = subprocess.Popen(command, cwd=app, env=environment)
    try:
        end = time.monotonic() + 90
        while not healthy():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait(10)
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "list"], cwd=app, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
