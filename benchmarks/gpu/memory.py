"""Peak memory of each method against full fine-tuning, and the estimate shown before a launch against what it took."""

from __future__ import annotations

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.method import clear
from benchmarks.gpu.steps import METHODS

GOALS = {"lora": 0.5, "qlora": 0.35}
LEAST, MOST = 0.8, 1.25
"""What an estimate may be of what was measured."""


def run(kit: Kit) -> None:
    """A few steps of sentences that fill `memory_tokens`, one method after another from a clean device."""
    from trainer.runs import estimate
    from trainer.training.train import train

    scale, on_gpu = kit.scale, kit.device.kind == "cuda"
    file = kit.file("long", 6 * scale.memory_batch, least=scale.memory_tokens, most=scale.memory_tokens + 20)
    peaks: dict[str, int] = {}
    for name in METHODS:
        config = kit.recipe(name, file, epochs=1, batch_size=scale.memory_batch, max_length=scale.memory_tokens)
        info = train(kit.request(config, kit.folder / name)).train_info
        clear()
        if on_gpu:
            peaks[name], reserved = info.accelerator_memory_allocated_max, info.accelerator_memory_max
            kit.check(
                f"{name}: peak allocated and reserved, MB", None, f"{peaks[name] / 1e6:.0f}, {reserved / 1e6:.0f}"
            )
        else:
            peaks[name] = info.peak
            kit.check(f"{name}: growth of the process, MB", None, peaks[name] / 1e6)
        if name != "full":
            ratio, goal = peaks[name] / peaks["full"], GOALS.get(name)
            held = ratio <= goal if goal and on_gpu else None
            kit.check(f"{name}: peak over full's", held, ratio, goal=f"{goal} or less" if goal else None)
        shown = estimate.estimate(config, device=kit.device).memory
        ratio = shown / peaks[name]
        held = LEAST <= ratio <= MOST if on_gpu else None
        kit.check(f"{name}: estimate over measured", held, ratio, goal=f"{LEAST} to {MOST}")
