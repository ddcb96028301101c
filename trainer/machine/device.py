"""The device that this machine computes on, and the precisions that it is fast in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import reduce

from trainer.errors import ArgumentError
from trainer.machine import cuda, hosting
from trainer.texts import tr


@dataclass(frozen=True)
class Device:
    """A CPU or GPU. `kind` is torch's device type, `memory` in bytes; `precisions` are those that run well, best first.

    `problem` is the reason why this is the CPU where torch cannot use the NVIDIA card (`cuda.unusable_card`).
    """

    kind: str
    name: str
    memory: int
    precisions: tuple[str, ...]
    capability: tuple[int, int] | None = None
    problem: str | None = None

    def choose(self, requested: str) -> str:
        """The precision to use: the device's best for "auto". Raises `ArgumentError` for one it lacks."""
        if requested == "auto":
            return self.precisions[0]
        if requested not in self.precisions:
            known = reduce(lambda one, other: tr("{one} or {other}", one=one, other=other), sorted(self.precisions))
            raise ArgumentError(
                expected=tr("precision auto, {precisions} on {device}", precisions=known, device=self.name),
                got=requested,
                fix=tr("choose one of these"),
            )
        return requested


_SPINS, _SPINS_WHILE_TRAINING = "1000", "10000"
_spins_are_ours = False


def share_cores() -> None:
    """Let torch's threads spin only briefly while they wait; call before torch is imported.

    With libgomp's default, a model that predicts beside one that trains slows both about tenfold on two cores; with
    this, each gets its share (benchmarks/README.md). A GOMP_SPINCOUNT that is already set stays.
    """
    global _spins_are_ours
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ["GOMP_SPINCOUNT"], _spins_are_ours = _SPINS, True


def environment_for_training() -> dict[str, str]:
    """Environment variables for a process that trains, in addition to this one's.

    A step is a thousand short computations, and waking a thread for each costs up to a third of it where threads sleep
    soon: here they spin ten times as long. Predictions at the same time are as fast as before (benchmarks/README.md).
    """
    return {"GOMP_SPINCOUNT": _SPINS_WHILE_TRAINING} if _spins_are_ours else {}


def reuse_freed_memory() -> None:
    """Let a training process reuse the memory that a step frees in the next step; call before the first step.

    By default glibc gives large blocks back to the system, and each step pays for fresh pages: up to a third of a
    step of full fine-tuning (benchmarks/README.md). Elsewhere than on glibc nothing happens.
    """
    import ctypes
    import sys

    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)


def release_freed_memory() -> None:
    """Collect unreachable objects and give the memory that is free back to the system, where a model has gone.

    A model with hooks is a cycle of references, for which Python looks very seldom where there are as many objects as
    in the app; and glibc keeps what is freed in the area of the thread that allocated it. About half a second.
    """
    import ctypes
    import gc
    import sys

    gc.collect()
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def quiet_libraries() -> None:
    """Silence warnings of the libraries that do not apply here: that a classification head is new, as it must be; that
    fused adapters are not active while they are loaded; and, from bitsandbytes, to install `kernels`, with which a
    hostile config.json could run code (CVE-2026-4372)."""
    import logging

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    for name in ("adapters", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)


def detect() -> Device:
    """The CUDA device if there is one that torch can use and nobody chose the CPU, else the CPU. Imports torch."""
    import torch

    problem = cuda.unusable_card()
    # On ZeroGPU torch reports a GPU, but the process has it only inside functions decorated for it.
    usable = problem is None and not cuda.cpu_is_chosen() and not hosting.zero_gpu()
    if usable and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        capability = (properties.major, properties.minor)
        return Device(
            "cuda",
            properties.name,
            properties.total_memory,
            cuda_precisions(capability),
            capability,
        )
    import psutil

    return Device("cpu", _cpu_name(), psutil.virtual_memory().total, cpu_precisions(), problem=problem)


def free_memory(device: Device) -> int:
    """Bytes that are free now on a device from `detect`."""
    if device.kind == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    import psutil

    return psutil.virtual_memory().available


def cuda_precisions(capability: tuple[int, int]) -> tuple[str, ...]:
    """The precisions of a CUDA device, best first: bf16 where it is native. A T4 (7.5) only emulates it."""
    return ("bf16", "fp16", "fp32") if capability >= (8, 0) else ("fp16", "fp32")


def cpu_precisions() -> tuple[str, ...]:
    """The precisions of this CPU, best first: bf16 autocast where it multiplies bf16 natively (AVX-512 BF16 or AMX)."""
    import torch

    # Private functions of torch: where a version lacks one, the feature counts as missing.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    capable = any(getattr(torch.cpu, name, bool)() for name in names)
    return ("bf16", "fp32") if capable else ("fp32",)


def compute_type(precision: str):
    """The torch dtype of a precision by name."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(device: Device, precision: str):
    """The context in which a forward pass runs at `precision`."""
    import torch

    return torch.autocast(device.kind, dtype=compute_type(precision), enabled=precision != "fp32")


def _cpu_name() -> str:
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "CPU"
