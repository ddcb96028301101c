"""Measurements of a run: time, memory, utilisation, energy and parameters. Bytes and seconds throughout."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from trainer.machine.device import Device


class Clock:
    """Seconds by part: `with clock("evaluation"):`. The time of a nested part does not count for the outer one.

    `seconds` has completed time only; `so_far` adds the part that runs now.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[tuple[str, float]] = []

    def so_far(self, part: str) -> float:
        """Seconds of a part, including the time since it started if it runs now."""
        under_way = time.perf_counter() - self._open[-1][1] if self._open and self._open[-1][0] == part else 0.0
        return self.seconds[part] + under_way

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        now = time.perf_counter()
        if self._open:
            outer, since = self._open[-1]
            self.seconds[outer] += now - since
        self._open.append((part, now))
        try:
            yield
        finally:
            now = time.perf_counter()
            part, since = self._open.pop()
            self.seconds[part] += now - since
            if self._open:
                self._open[-1] = (self._open[-1][0], now)


FIGURES = (
    "accelerator_memory_reserved_avg",
    "accelerator_memory_max",
    "accelerator_memory_reserved_99th",
    "accelerator_memory_allocated_max",
    "accelerator_utilisation_avg",
    "accelerator_energy_joules",
    "host_memory_start",
    "host_memory_peak",
    "host_energy_joules",
)
"""The figures of a `Meter`: PEFT's field names, and ours for what PEFT lacks. Bytes, percent and joules."""


class Meter:
    """Peak and mean memory, GPU utilisation and energy from `__enter__` on. Use as a context."""

    INTERVAL_OF_ENERGY = 30.0
    """Seconds between two readings of the processor's counter, which starts again after minutes of full load."""

    def __init__(self, device: Device, *, interval: float = 0.5) -> None:
        self.device, self.interval = device, interval
        self.reserved: list[int] = []
        self.utilisation: list[int] = []
        self._stop = threading.Event()
        self._gpu = _Nvml() if device.kind == "cuda" else None
        self._rapl = Rapl()

    def __enter__(self) -> Meter:
        reset_host_peak()
        self.host_start = host_memory()
        if self._rapl.read() is not None:
            threading.Thread(target=self._follow_energy, daemon=True).start()
        if self.device.kind == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._energy_start = self._gpu.energy()
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.device.kind == "cuda":
            self._thread.join()

    def now(self) -> int:
        """Memory in use now: allocated on the GPU, or resident above the start on a CPU."""
        if self.device.kind == "cuda":
            import torch

            return torch.cuda.memory_allocated()
        return max(host_memory() - self.host_start, 0)

    def result(self) -> dict[str, float | int | None]:
        """All of `FIGURES`; None where the device has no such figure."""
        figures: dict[str, float | int | None] = dict.fromkeys(FIGURES)
        figures |= {"host_memory_start": self.host_start, "host_memory_peak": host_peak()}
        figures["host_energy_joules"] = self._rapl.read()
        if self.device.kind == "cuda":
            import torch

            samples = sorted(self.reserved) or [torch.cuda.memory_reserved()]
            figures["accelerator_memory_reserved_avg"] = round(sum(samples) / len(samples))
            figures["accelerator_memory_max"] = torch.cuda.max_memory_reserved()
            figures["accelerator_memory_reserved_99th"] = samples[min(int(0.99 * len(samples)), len(samples) - 1)]
            figures["accelerator_memory_allocated_max"] = torch.cuda.max_memory_allocated()
            if self.utilisation:
                figures["accelerator_utilisation_avg"] = sum(self.utilisation) / len(self.utilisation)
            if self._energy_start is not None and (end := self._gpu.energy()) is not None:
                figures["accelerator_energy_joules"] = end - self._energy_start
        return figures

    def _follow_energy(self) -> None:
        while not self._stop.wait(self.INTERVAL_OF_ENERGY):
            self._rapl.read()

    def _sample(self) -> None:
        import torch

        while not self._stop.wait(self.interval):
            self.reserved.append(torch.cuda.memory_reserved())
            if (percent := self._gpu.utilisation()) is not None:
                self.utilisation.append(percent)


class Rapl:
    """Energy of the processor's packages since the first `read`, by Running Average Power Limit (Linux's powercap).

    The counters begin again at `max_energy_range_uj`: read more often than that takes. Most systems let only the
    superuser read them (CVE-2020-8694), and most virtual machines have none.
    """

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        # Packages alone: their parts (core, dram) are counted in them, and psys has them too. AMD's names are the same.
        self._packages = [path.parent for path in sorted(root.glob("intel-rapl:*/name")) if _is_package(path)]
        self._last: list[int] | None = None
        self._joules = 0.0
        self._lock = threading.Lock()

    def read(self) -> float | None:
        """Joules since the first call, of all packages; None where a counter is missing or cannot be read."""
        with self._lock:
            try:
                now = [int((package / "energy_uj").read_text()) for package in self._packages]
                for package, before, after in zip(self._packages, self._last or now, now, strict=True):
                    start_again = int((package / "max_energy_range_uj").read_text()) if after < before else 0
                    self._joules += (after - before + start_again) * 1e-6
            except (OSError, ValueError):
                return None
            self._last = now
            return self._joules if now else None


def _is_package(name: Path) -> bool:
    with suppress(OSError):
        return name.read_text().startswith("package")
    return False


class _Nvml:
    """NVIDIA's management library for the first visible GPU; a figure that it lacks is None."""

    def __init__(self) -> None:
        try:
            import pynvml
            import torch

            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
            self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except Exception:  # no driver, no permission, a virtual GPU: the run goes on without these figures
            self._nvml = self._handle = None

    def utilisation(self) -> int | None:
        """Per cent of the last sample period in which the GPU was busy."""
        return self._read(lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    def energy(self) -> float | None:
        """Joules since the driver was loaded."""
        return self._read(lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)

    def _read(self, query):
        if self._nvml is None:
            return None
        try:
            return query(self._nvml, self._handle)
        except self._nvml.NVMLError:
            return None


def host_memory() -> int:
    """Resident bytes of this process now."""
    import psutil

    return psutil.Process().memory_info().rss


def reset_host_peak() -> None:
    """Reset the kernel's high-water mark of resident memory, where it can be (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def host_peak() -> int:
    """The peak of resident bytes as the kernel records it, not sampled."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def count_parameters(model) -> tuple[int, int]:
    """(trainable, total) parameters. A tensor of 4-bit weights counts as many parameters as before quantisation."""
    trainable = total = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        count = state.shape.numel() if state is not None else parameter.numel()
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def saved_parameters(folder: Path) -> int:
    """The number of parameters in the safetensors files below a folder."""
    from safetensors import safe_open

    count = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no dictionary
                count += math.prod(file.get_slice(name).get_shape())
    return count


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, cached until the file is changed or replaced. Raises `OSError`."""
    stat = path.stat()
    return _sha256(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=128)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def system_info(device: Device) -> dict[str, object]:
    """The machine that a run was trained on, for its result."""
    import platform

    return {
        "system": platform.system(),
        "release": platform.release().split("-")[0],  # the rest names the build
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "device": device.name,
        "device_kind": device.kind,
        "device_memory": device.memory,
        "capability": list(device.capability) if device.capability else None,
    }


def package_info() -> dict[str, str]:
    """Versions of the packages that a run's result depends on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("torch", "transformers", "peft", "adapters", "bitsandbytes", "accelerate", "datasets"):
        try:
            versions[f"{name}-version"] = version(name)
        except PackageNotFoundError:
            continue
    return versions
