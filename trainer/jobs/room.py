"""Room for runs on the disk and in memory, checked before they are queued; what is missing is given in gigabytes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from trainer import methods
from trainer.config import RunConfig
from trainer.engine.checkpoints import KEPT
from trainer.errors import UserError
from trainer.machine import cgroup, cuda
from trainer.runs import estimate, ways
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.sources import backbones
from trainer.texts import tr

MARGIN = 1.5
"""A run is refused for memory if its estimate is more than this times what the machine has in all, used or free: an
estimate from the shapes alone can be a third too high, and what is in use now may be free when the run's turn comes."""
BYTES = 4
"""Of a stored parameter: weights, moments and models are in float32."""


def check(store: Store, configs: Sequence[RunConfig]) -> None:
    """Raise `UserError` if these runs cannot fit on the store's disk, or one of them in this machine's memory."""
    earlier = store.list()
    check_disk(store, configs, earlier=earlier)
    check_memory(configs, earlier=earlier, memory=memory_for_training())


def check_disk(store: Store, configs: Sequence[RunConfig], *, earlier: Sequence[Run] = ()) -> None:
    """Raise `UserError` if the models of these runs, and the checkpoints of the largest, exceed the free disk."""
    sizes = [_sizes(config, earlier) for config in configs]
    needed = sum(model for model, _ in sizes) + max((checkpoints for _, checkpoints in sizes), default=0)
    free = free_disk(store.root)
    if needed > free:
        raise UserError(
            expected=tr("{needed} GB free on the store's disk for the models and checkpoints", needed=_gb(needed)),
            got=tr("{free} GB, {missing} GB too little", free=_gb(free), missing=_gb(needed - free)),
            fix=tr("free some space, or choose fewer runs or a smaller backbone"),
        )


def check_memory(configs: Sequence[RunConfig], *, earlier: Sequence[Run], memory: int | None) -> None:
    """Raise `UserError` if a run's estimate is beyond `MARGIN` times the memory (bytes); `memory` None: no check."""
    if memory is None:
        return
    for config in {config.model_copy(update={"seed": 0}).model_dump_json(): config for config in configs}.values():
        try:
            needed = estimate.estimate(config, earlier=earlier, beside=configs).memory
        except (UserError, OSError):  # such as a task that cannot be fetched now: the run itself will say so
            continue
        if needed > MARGIN * memory:
            raise UserError(
                expected=tr("runs that fit in the {memory} GB of memory here", memory=_gb(memory)),
                got=tr(
                    "{method}, which needs about {needed} GB, {missing} GB more",
                    method=tr(methods.get(config.method).title),
                    needed=_gb(needed),
                    missing=_gb(needed - memory),
                ),
                fix=tr("choose a smaller batch size, maximum length or backbone"),
            )


def memory_for_training() -> int | None:
    """Bytes of memory that a run may take: of the GPU where runs train on one (None where its driver does not say).

    Else the memory and swap that this machine has, or its container may use. Of several GPUs the largest counts: CUDA
    orders them in its own way.
    """
    import psutil

    cards = () if version("torch").endswith("+cpu") or cuda.cpu_is_chosen() else cuda.cards()
    if cards:
        return max((card.memory for card in cards if card.memory), default=None)
    limit, memory = cgroup.memory_limit(), psutil.virtual_memory().total
    return min(memory, memory if limit is None else limit) + psutil.swap_memory().total


def free_disk(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _sizes(config: RunConfig, earlier: Sequence[Run]) -> tuple[int, int]:
    """Bytes of (a run's model folder, its checkpoints); 0 where its task or backbone cannot be read now."""
    try:
        return _model(config, earlier), _checkpoints(config, earlier)
    except (UserError, OSError):
        return 0, 0


def _model(config: RunConfig, earlier: Sequence[Run]) -> int:
    """Bytes of a run's model folder: the whole model, or what the method adds to a frozen backbone."""
    trainable, total = ways.counts(config, earlier)
    return BYTES * (total if methods.get(config.method).saves_whole else trainable)


def _checkpoints(config: RunConfig, earlier: Sequence[Run]) -> int:
    """Bytes of a run's checkpoints at least: weights, the best weights and AdamW's two moments, none at the last epoch.

    Of the word embeddings only the rows of the training split are in them (`engine.embedding_rows`): left out.
    """
    method, shape = methods.get(config.method), backbones.shape_of(config.backbone)
    trainable = ways.counts(config, earlier)[0] - method.trains_backbone * shape.vocabulary * shape.hidden
    return min(math.ceil(config.epochs) - 1, KEPT) * 4 * BYTES * trainable


def _gb(count: float) -> str:
    """The number of gigabytes, with two digits that say something."""
    return f"{count / 1e9:.1f}" if abs(count) >= 1e8 else f"{count / 1e9:.2g}"
