"""An NVIDIA card that torch cannot use: which card, why, and what to install. Imports torch only where there is a card.

torch only warns and computes on the CPU, ten to a hundred times as slowly. Here it is an error for training, and a
sentence on the page.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.machine import hosting
from trainer.texts import tr

DEVICE = "PEFT_LAB_DEVICE"
"""The environment variable that chooses the CPU: with `cpu`, runs train on the CPU and no card is used."""
OLDEST_DRIVERS = {13: 580, 12: 525, 11: 450}
"""CUDA's major version -> the oldest driver that runs its builds, whatever the minor version.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1, read in November 2026.
"""
INDEX = "https://download.pytorch.org/whl/"
"""The address of PyTorch's builds, with a folder for each."""
BUILDS = {"cu126": (12, 6), "cu130": (13, 0)}
"""Builds of torch 2.13 to choose from, and their CUDA. The first runs on more drivers."""
NEWEST_CAPABILITY = (9, 0)
"""The newest compute capability that the CUDA 12.6 builds have code for; cards after Hopper need a later CUDA."""
SPACE_LINES = "space_config/requirements-cuda.txt"
"""The first lines of a Space's requirements.txt, which install the first of `BUILDS`."""
PROC, DEV = Path("/proc/driver/nvidia"), Path("/dev")
"""The kernel's information on the driver and its cards, and the folder of the cards' device files."""


class UnusableCard(UserError):
    """An NVIDIA card that torch cannot compute on. `str(error)` names the card, the cause and what to do."""


@dataclass(frozen=True)
class Card:
    """An NVIDIA card, its driver's version, and its compute capability and bytes of memory where they are known."""

    name: str
    driver: str
    capability: tuple[int, int] | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Torch:
    """The installed torch: its version with the build, the CUDA it was built for, whether it can use a card.

    `reason` is torch's own error where it cannot. `capability` is that of its first device, `architectures` are those
    that it has code for.
    """

    version: str
    cuda: str | None
    available: bool
    reason: str = ""
    capability: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ()


def cpu_is_chosen() -> bool:
    """Whether a person chose the CPU: with `PEFT_LAB_DEVICE=cpu`, or by hiding the cards as CUDA documents it."""
    if os.environ.get(DEVICE, "").strip().lower() == "cpu":
        return True
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible is not None and visible.split(",")[0].strip() in ("", "-1", "NoDevFiles")


def unusable_card() -> str | None:
    """One sentence on why torch cannot compute on this machine's NVIDIA card, and what to do.

    None where there is no card, where torch can use it, where a person chose the CPU, and on ZeroGPU.
    """
    error = _error()
    return None if error is None else str(error)


def require_usable_card() -> None:
    """Raise `UnusableCard` where `unusable_card` is not None, so that nothing trains on the CPU by mistake."""
    if (error := _error()) is not None:
        raise error


def cards() -> tuple[Card, ...]:
    """The NVIDIA cards that this process can see, from NVIDIA's library, or from the kernel where that is missing."""
    return _cards_of_nvml() or _cards_of_kernel()


def has_code(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a build with code for `architectures` (sm_75, compute_90, ...) runs on a compute capability.

    Machine code runs on later minor versions of its major version, and PTX (compute_) on everything later.
    """
    required = 10 * capability[0] + capability[1]
    for name in architectures:
        kind, _, number = name.partition("_")
        if not (digits := re.match(r"\d+", number)):
            continue
        has = int(digits[0])
        if has <= required and (kind == "compute" or has // 10 == capability[0]):
            return True
    return not architectures


def _error() -> UnusableCard | None:
    if cpu_is_chosen() or hosting.zero_gpu() or not (present := cards()):
        return None
    build = _inspect_torch()
    # A torch that was built without CUDA and can use a card uses another maker's.
    fits = build.cuda is None or build.capability is None or has_code(build.capability, build.architectures)
    if build.available and fits:
        return None
    return UnusableCard(
        expected=tr(
            "torch to compute on the {card} (driver {driver})",
            card=", ".join(dict.fromkeys(card.name for card in present)),
            driver=present[0].driver,
        ),
        got=_cause(build, present[0].driver),
        fix=tr("{step}, or set {variable}=cpu to train on the CPU", step=_step(build, present), variable=DEVICE),
    )


def _cause(build: Torch, driver: str) -> str:
    if build.cuda is None:
        return tr("torch {version}, a build for CPUs alone", version=build.version)
    if build.available and build.capability:
        return tr(
            "torch {version}, which has no code for its compute capability {capability}",
            version=build.version,
            capability=".".join(map(str, build.capability)),
        )
    oldest = OLDEST_DRIVERS.get(_major(build.cuda))
    if oldest and _major(driver) < oldest:
        return tr(
            "torch {version}, whose CUDA {cuda} needs driver {oldest} or later",
            version=build.version,
            cuda=build.cuda,
            oldest=oldest,
        )
    reason = _first_sentence(build.reason) or tr("nothing")
    return tr("torch {version}, which cannot start CUDA ({reason})", version=build.version, reason=reason)


def _step(build: Torch, present: tuple[Card, ...]) -> str:
    """What to do next: check the machine, install another driver, or another build of torch."""
    driver = _major(present[0].driver)
    if build.cuda and not build.available and 0 < OLDEST_DRIVERS.get(_major(build.cuda), 0) <= driver:
        return tr("see that nvidia-smi lists the card, and restart the machine")
    capabilities = [build.capability] if build.capability else [card.capability for card in present]
    tag = "cu126" if any(one is None or one <= NEWEST_CAPABILITY for one in capabilities) else "cu130"
    major, minor = BUILDS[tag]
    oldest = OLDEST_DRIVERS[major]
    if driver < oldest:
        return tr("update the NVIDIA driver to {oldest} or later", oldest=oldest)
    if hosting.on_space():
        return tr("put the lines of {file} at the head of the Space's requirements.txt", file=SPACE_LINES)
    return tr(
        "install the same torch for CUDA {cuda}, which runs on every driver from {oldest} on ({command})",
        cuda=f"{major}.{minor}",
        oldest=oldest,
        command=f"pip install torch=={build.version.partition('+')[0]}+{tag} --index-url {INDEX}{tag}",
    )


def _inspect_torch() -> Torch:
    """The installed torch. A build for CPUs alone is recognised by its version, without importing it."""
    import warnings
    from importlib.metadata import version

    if (name := version("torch")).endswith("+cpu"):
        return Torch(name, None, False)
    import torch

    name, cuda = str(torch.__version__), torch.version.cuda
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error from this module reports the same
            if torch.cuda.is_available():
                capability, architectures = torch.cuda.get_device_capability(0), torch.cuda.get_arch_list()
                return Torch(name, cuda, True, capability=capability, architectures=tuple(architectures))
            if cuda is not None:
                torch.cuda.init()  # raises an error with the reason
    except Exception as error:
        return Torch(name, cuda, False, reason=str(error))
    return Torch(name, cuda, False)


def _cards_of_nvml() -> tuple[Card, ...]:
    """The cards from NVIDIA's management library; none where it is missing or cannot start."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, no library, another library's version than the kernel's
        return ()
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(
            Card(
                _text(pynvml.nvmlDeviceGetName(one)),
                driver,
                tuple(pynvml.nvmlDeviceGetCudaComputeCapability(one)),
                _memory(pynvml, one),
            )
            for one in handles
        )
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _memory(pynvml: Any, card: Any) -> int | None:
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(card).total)
    except pynvml.NVMLError:  # such as a slice of a card, whose owner may not ask
        return None


def _cards_of_kernel() -> tuple[Card, ...]:
    """The cards from the kernel's module, without their compute capability.

    A container without a GPU sees its host's driver here too: a card counts only where it has a device file.
    """
    try:
        text = (PROC / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    if not any(DEV.glob("nvidia[0-9]*")):
        return ()
    driver = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    names = []
    for path in sorted(PROC.glob("gpus/*/information")):
        model = re.search(r"^Model:\s*(.+?)\s*$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        names += [model[1]] if model else []
    return tuple(Card(name, driver[1] if driver else "0") for name in names or ["NVIDIA GPU"])


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value  # bytes in older versions


def _major(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def _first_sentence(text: str) -> str:
    """The first sentence of torch's error, without its advice, which names pages and its own source files."""
    return re.split(r"\.\s|\n|\s\(Triggered", text.strip(), maxsplit=1)[0].strip().rstrip(".")[:200]
