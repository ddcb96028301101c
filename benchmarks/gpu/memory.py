"""Memory of a step: against full fine-tuning, against the allocator, and the estimate before a launch against it."""

from __future__ import annotations

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.method import clear
from benchmarks.gpu.steps import METHODS

GOALS = {"lora": 0.5, "qlora": 0.35}
LEAST, MOST = 0.8, 1.25
"""What an estimate may be of what was measured."""
EQUAL = 0.05
"""The most by which a step's counted bytes may differ from those that CUDA's allocator reports."""


def run(kit: Kit) -> None:
    """A few steps of sentences that fill `memory_tokens`, one method after another from a clean device."""
    from benchmarks.training import FUSED
    from trainer import methods
    from trainer.runs import estimate
    from trainer.training import simulate
    from trainer.training.train import train

    scale, on_gpu = kit.scale, kit.device.kind == "cuda"
    file = kit.file("long", 6 * scale.memory_batch, least=scale.memory_tokens, most=scale.memory_tokens + 20)
    peaks: dict[str, int] = {}
    for name in METHODS:
        fused = {"parent_tasks": FUSED} if methods.get(name).parent_method else {}
        config = kit.recipe(
            name, file, epochs=1, batch_size=scale.memory_batch, max_length=scale.memory_tokens, **fused
        )
        info = train(kit.request(config, kit.folder / name)).train_info
        clear()
        step = info.step_memory
        peaks[name] = step.peak
        parts = ("weights", "gradients", "optimizer_states", "activations", "temporary")
        figures = ", ".join(f"{part} {getattr(step, part) / 1e6:.1f}" for part in parts)
        kit.check(f"{name}: a step at its peak, MB", sum(getattr(step, part) for part in parts) == step.peak, figures)
        if on_gpu:
            allocated, reserved = info.accelerator_memory_allocated_max, info.accelerator_memory_max
            kit.check(f"{name}: peak allocated and reserved, MB", None, f"{allocated / 1e6:.0f}, {reserved / 1e6:.0f}")
            kit.check(f"{name}: step over allocated", abs(step.peak / allocated - 1) <= EQUAL, step.peak / allocated,
                      goal=f"within {EQUAL:.0%}")  # fmt: skip
        else:
            kit.check(f"{name}: growth of the process, MB", None, info.process_growth / 1e6)
        if name != "full":
            ratio, goal = peaks[name] / peaks["full"], GOALS.get(name)
            passed = ratio <= goal if goal and on_gpu else None
            kit.check(f"{name}: peak over full's", passed, ratio, goal=f"{goal} or less" if goal else None)
        simulate.ensure([config], device=kit.device)
        shown = estimate.estimate(config, device=kit.device)
        ratio = shown.memory / peaks[name]
        kit.check(f"{name}: estimate over measured", LEAST <= ratio <= MOST, ratio, goal=f"{LEAST} to {MOST}")
        clear()
