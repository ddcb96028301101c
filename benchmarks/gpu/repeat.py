"""The same recipe twice: are its predictions equal; and what the card did meanwhile."""

from __future__ import annotations

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.method import clear


def run(kit: Kit) -> None:
    """Full fine-tuning and LoRA twice each; utilisation and energy as NVML has them."""
    import numpy as np
    import pandas as pd

    from trainer.training.train import train

    file = kit.file("sentences", kit.scale.speed_sentences)
    for name in ("full", "lora"):
        pairs = []
        for turn in range(2):
            request = kit.request(kit.recipe(name, file, batch_size=32), kit.folder / f"{name}-{turn}")
            info = train(request).train_info
            rows = pd.read_parquet(request.folder / "predictions.parquet")
            pairs.append((np.stack(rows["probabilities"]), rows["predicted"].to_numpy()))
            clear()
        (one, first), (other, second) = pairs
        apart, labels = float(np.abs(one - other).max()), int((first != second).sum())
        # On a CPU a repeat is equal to the bit; on CUDA some sums have no fixed order.
        passed = apart == 0 if kit.device.kind == "cpu" else None
        kit.check(f"{name} twice: largest difference of a probability", passed, apart)
        kit.check(f"{name} twice: labels that differ", None, f"{labels} of {len(first)}")
        if kit.device.kind == "cuda":
            utilisation, energy = info.accelerator_utilisation_avg, info.accelerator_energy_joules
            kit.check(f"{name}: GPU utilisation, %", utilisation is not None, utilisation)
            kit.check(f"{name}: energy, J", energy is not None, energy)
