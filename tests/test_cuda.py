"""An NVIDIA card that torch cannot use, with stand-ins for NVIDIA's library, the kernel's files and torch's answer."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, app_on, trainer

from trainer.config import RunConfig
from trainer.jobs import queue as jobs
from trainer.machine import cuda, device
from trainer.machine.cuda import Card, Torch
from trainer.ui.common import health
from trainer.ui.common import lab as lab_module
from trainer.ui.common.lab import Lab

T4 = Card("Tesla T4", "550.54.15", (7, 5), 16_106_127_360)
TOO_OLD = "The NVIDIA driver on your system is too old (found version 12040)"
CUDA_13 = Torch("2.13.0+cu130", "13.0", False, reason=f"{TOO_OLD}. Please update your GPU driver.")
ON_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
ON_126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
INSTALL = "pip install torch==2.13.0+cu126 --index-url https://download.pytorch.org/whl/cu126"


@pytest.fixture(autouse=True)
def nobody_chose(monkeypatch):
    """No variable of the machine that the tests run on."""
    for name in (cuda.DEVICE, "CUDA_VISIBLE_DEVICES", "SPACE_ID", "SPACES_ZERO_GPU"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def machine(monkeypatch):
    """Puts cards and torch's answer in the place of this machine's."""

    def put(cards: tuple[Card, ...], build: Torch) -> None:
        monkeypatch.setattr(cuda, "cards", lambda: cards)
        monkeypatch.setattr(cuda, "_inspect_torch", lambda: build)

    return put


def t4(driver: str) -> tuple[Card, ...]:
    return (Card("Tesla T4", driver, (7, 5)),)


def new(driver: str) -> tuple[Card, ...]:
    return (Card("RTX PRO 6000", driver, (12, 0)),)


CASES = {
    "CUDA 13 on 550": ((T4,), CUDA_13, ("torch 2.13.0+cu130, whose CUDA 13.0 needs driver 580", INSTALL)),
    "CPU build": ((T4,), Torch("2.13.0+cpu", None, False), ("torch 2.13.0+cpu, a build for CPUs alone", INSTALL)),
    "CUDA 12 on 470": (
        t4("470.82.01"),
        Torch("2.13.0+cu126", "12.6", False),
        ("whose CUDA 12.6 needs driver 525", "update the NVIDIA driver to 525 or later"),
    ),
    "no build runs on 470": (t4("470.82.01"), CUDA_13, ("needs driver 580", "the NVIDIA driver to 525 or later")),
    "580 that does not start": (
        t4("580.65.06"),
        Torch("2.13.0+cu130", "13.0", False, "CUDA unknown error - this may be due"),
        ("cannot start CUDA (CUDA unknown error", "see that nvidia-smi lists the card, and restart"),
    ),
    "too old a card for CUDA 13": (
        (Card("Tesla V100", "580.65.06", (7, 0)),),
        Torch("2.13.0+cu130", "13.0", True, "", (7, 0), ON_13),
        ("on the Tesla V100", "has no code for its compute capability 7.0", INSTALL),
    ),
    "too new a card for CUDA 12.6": (
        new("580.65.06"),
        Torch("2.13.0+cu126", "12.6", True, "", (12, 0), ON_126),
        ("capability 12.0", INSTALL.replace("cu126", "cu130")),
    ),
    "too new a card on 570": (new("570.86"), CUDA_13, ("update the NVIDIA driver to 580 or later",)),
    "several cards": (
        (T4, T4, Card("NVIDIA L4", "550.54.15", (8, 9))),
        CUDA_13,
        ("on the Tesla T4, NVIDIA L4 (driver 550.54.15)", INSTALL),
    ),
    "by the kernel": ((Card("NVIDIA GPU", "535.104.05"),), CUDA_13, ("NVIDIA GPU (driver 535.104.05)", INSTALL)),
    "a CUDA of later": (
        (T4,),
        Torch("2.15.0+cu140", "14.0", False, "The driver is too old. See https://x.example"),
        ("cannot start CUDA (The driver is too old)", "torch==2.15.0+cu126"),
    ),
}


@pytest.mark.parametrize(("cards", "build", "parts"), CASES.values(), ids=CASES)
def test_a_card_that_torch_cannot_use_is_one_sentence_with_what_to_do(machine, cards, build, parts):
    machine(cards, build)
    told = cuda.unusable_card()
    assert told.startswith("Expected torch to compute on the ")
    for part in (*parts, "or set PEFT_LAB_DEVICE=cpu to train on the CPU."):
        assert part in told
    assert len(told.splitlines()) == 1
    with pytest.raises(cuda.UnusableCard, match="Expected torch to compute on"):
        cuda.require_usable_card()


@pytest.mark.parametrize(
    ("cards", "build"),
    [
        pytest.param((), CUDA_13, id="no card"),
        pytest.param((), Torch("2.13.0+cpu", None, False), id="no card, CPU build"),
        pytest.param(
            (Card("Tesla T4", "580.65.06", (7, 5)),), Torch("2.13.0+cu130", "13.0", True, "", (7, 5), ON_13), id="580"
        ),
        pytest.param((T4,), Torch("2.13.0+cu126", "12.6", True, "", (7, 5), ON_126), id="CUDA 12.6 on 550"),
        # A container may bring libraries that let CUDA 13 run on an older driver: torch's answer counts.
        pytest.param((T4,), Torch("2.13.0+cu130", "13.0", True, "", (7, 5), ON_13), id="forward compatibility"),
        pytest.param((T4,), Torch("2.13.0+rocm7", None, True, "", (9, 4), ("gfx942",)), id="another maker's card"),
    ],
)
def test_where_torch_can_compute_nothing_is_said(machine, cards, build):
    machine(cards, build)
    assert cuda.unusable_card() is None
    cuda.require_usable_card()


@pytest.mark.parametrize(
    ("name", "value", "chosen"),
    [
        ("PEFT_LAB_DEVICE", "cpu", True),
        ("PEFT_LAB_DEVICE", " CPU ", True),
        ("PEFT_LAB_DEVICE", "", False),
        ("PEFT_LAB_DEVICE", "cuda", False),
        ("CUDA_VISIBLE_DEVICES", "", True),
        ("CUDA_VISIBLE_DEVICES", "-1", True),
        ("CUDA_VISIBLE_DEVICES", "0,1", False),
        ("CUDA_VISIBLE_DEVICES", "GPU-5ebe9f43", False),
        ("SPACES_ZERO_GPU", "true", True),
    ],
)
def test_a_person_may_choose_the_cpu(machine, monkeypatch, name, value, chosen):
    machine((T4,), CUDA_13)
    monkeypatch.setenv(name, value)
    assert (cuda.unusable_card() is None) == chosen


def test_a_space_is_told_which_lines_to_use(machine, monkeypatch):
    machine((T4,), CUDA_13)
    monkeypatch.setenv("SPACE_ID", "me/lab")
    told = cuda.unusable_card()
    assert "put the lines of space_config/requirements-cuda.txt at the head of the Space's requirements.txt" in told
    assert (ROOT / cuda.SPACE_LINES).is_file()
    assert "+cu126" in (ROOT / cuda.SPACE_LINES).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((7, 5), ON_13, True),
        ((8, 9), ON_13, True),
        ((9, 0), ("sm_90a",), True),
        ((7, 0), ON_13, False),
        ((12, 0), ON_126, False),
        ((12, 0), (*ON_126, "compute_90"), True),
        ((10, 3), ON_13, True),
        ((8, 0), ("sm_86",), False),
        ((7, 5), (), True),
    ],
)
def test_which_cards_a_build_has_code_for(capability, architectures, runs):
    assert cuda.has_code(capability, architectures) == runs


# Who is asked


class NvmlError(Exception):
    pass


def nvml(*names: str | bytes, fails: str = "") -> types.ModuleType:
    """A stand-in for NVIDIA's library: cards by name on driver 550, or a function that fails."""
    module, shut = types.ModuleType("pynvml"), []
    module.NVMLError, module.shut = NvmlError, shut
    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: shut.append(True),
        "nvmlSystemGetDriverVersion": lambda: b"550.54.15" if isinstance(names[0], bytes) else "550.54.15",
        "nvmlDeviceGetCount": lambda: len(names),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: names[handle],
        "nvmlDeviceGetCudaComputeCapability": lambda handle: [7, 5],
        "nvmlDeviceGetMemoryInfo": lambda handle: types.SimpleNamespace(total=T4.memory),
    }

    def failing(*_):
        raise NvmlError("Driver/library version mismatch")

    for name, answer in answers.items():
        setattr(module, name, failing if name == fails else answer)
    return module


def test_nvml_names_every_card(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml("Tesla T4", "NVIDIA L4"))
    assert cuda.cards() == (T4, replace(T4, name="NVIDIA L4"))
    assert sys.modules["pynvml"].shut
    monkeypatch.setitem(sys.modules, "pynvml", nvml(b"Tesla T4"))  # as before version 12
    assert cuda.cards() == (T4,)
    monkeypatch.setitem(sys.modules, "pynvml", nvml("Tesla T4", fails="nvmlDeviceGetMemoryInfo"))
    assert cuda.cards() == (replace(T4, memory=None),)


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> Path:
    """The kernel's files of a machine with a T4, in the place of this machine's."""
    proc, dev = tmp_path / "proc", tmp_path / "dev"
    (proc / "gpus" / "0000:00:1e.0").mkdir(parents=True)
    dev.mkdir()
    (dev / "nvidia0").touch()
    (proc / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC 12.3.0\n")
    (proc / "gpus" / "0000:00:1e.0" / "information").write_text("Model: \t\t Tesla T4\nIRQ:   \t\t 10\n")
    monkeypatch.setattr(cuda, "PROC", proc)
    monkeypatch.setattr(cuda, "DEV", dev)
    return tmp_path


@pytest.mark.parametrize("library", [None, "nvmlInit", "nvmlSystemGetDriverVersion", "nvmlDeviceGetCount"])
def test_where_nvml_is_missing_or_fails_the_kernel_names_the_card(kernel, monkeypatch, library):
    monkeypatch.setitem(sys.modules, "pynvml", library and nvml("Tesla T4", fails=library))
    assert cuda.cards() == (Card("Tesla T4", "550.54.15"),)
    (kernel / "proc" / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@host)\n"
    )
    assert cuda.cards() == (Card("Tesla T4", "580.65.06"),)
    (kernel / "proc" / "gpus" / "0000:00:1e.0" / "information").unlink()
    assert cuda.cards() == (Card("NVIDIA GPU", "580.65.06"),)
    (kernel / "dev" / "nvidia0").unlink()
    (kernel / "dev" / "nvidiactl").touch()
    assert cuda.cards() == (), "a container that was given none of its host's cards"
    (kernel / "proc" / "version").unlink()
    assert cuda.cards() == ()


def test_without_a_card_torch_is_not_imported():
    """Every launch asks: it must cost little on a machine without one."""
    code = (
        "import sys; from trainer.machine import cuda; cuda.cards = lambda: ();"
        "cuda.require_usable_card(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_torch_is_asked_for_its_build_and_its_reason(monkeypatch):
    """A stand-in for torch built for CUDA 13 on a driver of 550; and this machine's own torch."""
    own = cuda._inspect_torch()
    assert own.version.startswith("2.")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0")
    fake = types.ModuleType("torch")
    fake.__version__, fake.version = "2.13.0+cu130", types.SimpleNamespace(cuda="13.0")

    def too_old():
        raise RuntimeError(f"{TOO_OLD}. Please update your GPU driver (Triggered internally at /pytorch/c10/cuda.cpp)")

    fake.cuda = types.SimpleNamespace(is_available=lambda: False, init=too_old)
    monkeypatch.setitem(sys.modules, "torch", fake)
    build = cuda._inspect_torch()
    assert (build.version, build.cuda, build.available) == ("2.13.0+cu130", "13.0", False)
    assert cuda._first_sentence(build.reason) == TOO_OLD
    fake.cuda = types.SimpleNamespace(
        is_available=lambda: True, get_device_capability=lambda index: (7, 5), get_arch_list=lambda: list(ON_13)
    )
    assert cuda._inspect_torch() == Torch("2.13.0+cu130", "13.0", True, "", (7, 5), ON_13)
    fake.version.cuda, fake.cuda = None, types.SimpleNamespace(is_available=lambda: False)
    assert cuda._inspect_torch() == Torch("2.13.0+cu130", None, False), (
        "a build for CPUs that does not say so in its version"
    )


# What follows


def test_the_device_is_the_cpu_and_says_why(machine, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # as of a card that torch has no code for
    machine((Card("Tesla V100", "580.65.06", (7, 0)),), Torch("2.13.0+cu130", "13.0", True, "", (7, 0), ON_13))
    found = device.detect()
    assert found.kind == "cpu"
    assert found.problem == cuda.unusable_card()
    assert lab_module.describe_device(found).endswith(found.problem)
    monkeypatch.setenv("PEFT_LAB_DEVICE", "cpu")
    assert (device.detect().kind, device.detect().problem) == ("cpu", None)


def test_nothing_is_queued_on_such_a_machine(machine, own_store, tiny_backbone, tiny_file):
    machine((T4,), CUDA_13)
    recipe = RunConfig(
        method="lora", task=str(tiny_file), backbone=str(tiny_backbone), epochs=1, learning_rate=1e-3, train_size=16
    )
    with pytest.raises(cuda.UnusableCard, match="whose CUDA 13"):
        jobs.launch(own_store, [recipe])
    assert own_store.list() == []
    run = own_store.create(recipe)
    own_store.update(run.id, state="failed")
    with pytest.raises(cuda.UnusableCard, match="whose CUDA 13"):
        jobs.resume(own_store, run.id)
    assert own_store.load(run.id).state == "failed"


SITE = """
from trainer.machine import cuda
cuda.cards = lambda: (cuda.Card("Tesla T4", "550.54.15", (7, 5)),)
cuda._inspect_torch = lambda: cuda.Torch("2.13.0+cu130", "13.0", False)
"""


@pytest.fixture
def stand_in_machine(tmp_path) -> dict[str, str]:
    """An environment whose every Python process sees a T4 on a driver of 550."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    return {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}"}


def test_the_command_line_refuses_unless_the_cpu_is_chosen(own_store, tiny_backbone, tiny_file, stand_in_machine):
    run = ("run", "--method", "lora", "--task", str(tiny_file), "--backbone", str(tiny_backbone))
    run += ("--set", "epochs=1", "--set", "train_size=16", "--set", "validation_size=8", "--set", "test_size=8")
    done = trainer(*run, store=own_store, check=False, **stand_in_machine)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Expected torch to compute on the Tesla T4 (driver 550.54.15), got torch 2.13.0+cu130"
    )
    assert len(done.stderr.splitlines()) == 1
    assert own_store.list() == []
    trainer(*run, store=own_store, PEFT_LAB_DEVICE="cpu", **stand_in_machine)
    (trained,) = own_store.list()
    assert trained.state == "finished"
    # A run that waits here since before: the worker says why it does not train it, in the run's log too.
    waiting = own_store.create(trained.recipe)
    trainer("worker", store=own_store, **stand_in_machine)
    waiting = own_store.load(waiting.id)
    assert (waiting.state, waiting.error[:24]) == ("failed", "Expected torch to comput")
    assert waiting.error in (waiting.folder / "log.txt").read_text(encoding="utf-8")


# /health


def answer(address: str) -> dict:
    """What /health says of the device, once its status is seen to agree with whether the app is ready."""
    try:
        response = urllib.request.urlopen(f"{address}/health", timeout=5)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        assert response.headers["Content-Type"] == "application/json"
        found = json.load(response)
    assert (response.status, bool(found["reasons"])) == ((200, False) if found["ready"] else (503, True))
    return {name: found[name] for name in ("ready", "device", "problem")}


def until_ready(address: str) -> dict:
    import time

    end = time.monotonic() + 120
    while not (found := answer(address))["ready"]:
        assert found["device"] is None
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def computed_here() -> dict:
    """What /health says here: test_examples.py asks an app, test_space.py one with a password and one of a Space."""
    here = device.detect()
    return {
        "ready": True,
        "device": {"kind": here.kind, "name": here.name, "precision": here.precisions[0]},
        "problem": here.problem,
    }


def test_health_and_the_page_name_the_problem(tmp_path, stand_in_machine):
    with app_on(tmp_path / "store", **stand_in_machine) as (address, _):
        found = until_ready(address)
    assert found["device"]["kind"] == "cpu"
    assert found["problem"].startswith("Expected torch to compute on the Tesla T4")
    assert str(tmp_path) not in json.dumps(found)


def test_before_torch_is_imported_health_answers_at_once(own_store, monkeypatch):
    lab = Lab.open(own_store)
    watch = health.Watch(lab)
    told = watch.state()
    assert (told["ready"], told["reasons"], told["device"], told["problem"]) == (False, ["starting"], None, None)

    def broken():
        raise OSError("/usr/lib/secret/libcudart.so: cannot open")

    monkeypatch.setattr(device, "detect", broken)
    lab.warm_up()
    told = watch.state()
    assert (told["ready"], told["reasons"], told["device"]) == (False, ["device"], None)
    assert "libcudart.so" in told["problem"]
    assert "/usr/lib" not in told["problem"]


def test_the_page_warns_of_a_card_that_torch_cannot_use(own_store):
    from trainer.ui.common import header

    lab = Lab.open(own_store)
    lab.device = device.Device("cpu", "Xeon", 1, ("fp32",), problem="Expected torch to compute on the Tesla T4.")
    lab.problem, lab.device_line, lab.warm = lab.device.problem, lab_module.describe_device(lab.device), True
    assert lab.device_line == "Running on Xeon, fp32. Expected torch to compute on the Tesla T4."
    shown, _ = header.device_now(lab)
    assert "Running on Xeon, fp32." in shown
    assert '<div class="lab-warning" role="status">Expected torch to compute on the Tesla T4.</div>' in shown


def test_the_builds_named_have_libraries_of_bitsandbytes():
    """Without its library, 4-bit stops on CUDA: its wheel must have one for each build that is recommended."""
    from importlib.metadata import files

    names = {path.name for path in files("bitsandbytes") or ()}
    for tag in cuda.BUILDS:
        assert f"libbitsandbytes_cuda{tag.removeprefix('cu')}.so" in names
