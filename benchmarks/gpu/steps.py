"""The steps in the order of their worth: what each needs, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("full", "lora", "qlora", "adapter", "adapter_fusion")


@dataclass(frozen=True)
class Step:
    """One process of the program.

    Attributes:
        name: as `--only` takes it and the table shows it.
        module: the module of this package whose `run(kit, *arguments)` the process calls.
        arguments: what it is called with.
        seconds: its time limit.
        alone: whether it measures time or memory, so that no other step may run beside it.
        needs: the step whose store of runs it reads, if any.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    seconds: float = 90.0
    alone: bool = True
    needs: str | None = None


STEPS = (
    Step("machine", "machine", seconds=60),
    *(Step(name, "method", (name,), seconds=150, alone=False) for name in METHODS),
    Step("queue", "queue", seconds=240),
    Step("predict", "predict", seconds=90, needs="queue"),
    Step("memory", "memory", seconds=120),
    *(Step(f"speed-{name}", "speed", (name,), seconds=120) for name in METHODS),
    Step("repeat", "repeat", seconds=90),
)
