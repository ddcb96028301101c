"""Step 1: what is there, and whether torch and bitsandbytes can use it."""

from __future__ import annotations

from benchmarks.gpu.kit import Kit


def run(kit: Kit) -> None:
    """Device, capability, driver, builds, precisions, free memory, bitsandbytes' library."""
    import torch

    from trainer.machine import cuda
    from trainer.machine.device import free_memory

    problem = cuda.unusable_card()
    kit.check("an NVIDIA card here is one that torch can use", problem is None, problem)
    device = kit.device
    kit.check("device", None, device.name)
    if device.kind == "cuda":
        kit.check("compute capability", None, ".".join(map(str, device.capability)))
        kit.check("driver", None, ", ".join(sorted({card.driver for card in cuda.cards()})))
    kit.check("torch, and its CUDA", None, f"{torch.__version__}, {torch.version.cuda or 'none'}")
    kit.check("precisions, best first", None, " ".join(device.precisions))
    kit.check("a product in the precision chosen is finite", _product_is_finite(device), device.choose("auto"))
    kit.check("free memory, GB", None, free_memory(device) / 1e9)
    kit.check("bitsandbytes' library for this device is loaded", *_bitsandbytes(device.kind))


def _product_is_finite(device) -> bool:
    import torch

    from trainer.machine.device import autocast

    with autocast(device, device.choose("auto")):
        product = torch.randn(64, 64, device=device.kind) @ torch.randn(64, 64, device=device.kind)
    return bool(torch.isfinite(product).all())


def _bitsandbytes(kind: str) -> tuple[bool, str]:
    import bitsandbytes
    from bitsandbytes import cextension

    library = cextension.lib
    compiled = bool(getattr(library, "compiled_with_cuda", False))
    return compiled or kind == "cpu", f"{bitsandbytes.__version__}, {'CUDA' if compiled else 'CPU'}"
