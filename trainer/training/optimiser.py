"""A recipe's accelerator, AdamW with its parameter groups, and schedule of the learning rate."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn
from transformers import get_scheduler

from trainer.config import RunConfig
from trainer.machine.device import Device

NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""The names, in lower case, of parameters without weight decay, as transformers' Trainer chooses them."""


def start_accelerator(device: Device, precision: str) -> Accelerator:
    """A new accelerator for the device and the processes; call before a model is built.

    accelerate's state is global and refuses a second run at another precision: it is reset.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=device.kind == "cpu",
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # buffers do not change in training
    )


def parameter_groups(
    model: nn.Module, weight_decay: float, *, rate: float, factor: Callable[[str], float] = lambda name: 1.0
) -> list[dict[str, Any]]:
    """An optimiser's groups of the trained parameters: with weight decay, and without (biases and layer norms).

    `factor`: parameter's name -> what its learning rate is multiplied by; each other factor than 1 has two groups more.
    """
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, False): [], (1.0, True): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = id(parameter) in norms or NO_DECAY.search(name.lower()) is not None
            groups.setdefault((factor(name), plain), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": 0.0 if plain else weight_decay, "lr": rate * times}
        for (times, plain), parameters in groups.items()
    ]


def make_optimizer(
    model: nn.Module, config: RunConfig, *, precision: str, factor: Callable[[str], float] = lambda name: 1.0
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over the trained parameters; `factor` as in `parameter_groups`."""
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay, rate=config.learning_rate, factor=factor),
        lr=config.learning_rate,
        fused=precision != "fp16",  # with the fused one accelerate cannot detect that gradient scaling skipped a step
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, config: RunConfig, *, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The recipe's warm-up and schedule over all optimiser steps."""
    return get_scheduler(
        {"constant": "constant_with_warmup"}.get(config.lr_scheduler, config.lr_scheduler),
        optimizer,
        num_warmup_steps=math.ceil(steps * config.warmup_ratio),
        num_training_steps=steps,
    )
