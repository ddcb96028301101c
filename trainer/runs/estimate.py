"""Estimated cost of a run before it starts: from earlier runs on this machine, a simulated step, or shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from trainer import methods
from trainer.config import RunConfig
from trainer.machine.device import Device
from trainer.runs import recipes, ways
from trainer.runs.run import Run
from trainer.texts import tr

Way = Callable[[RunConfig], tuple[float, str] | None]
"""A way of estimating: recipe -> (seconds or bytes, their basis in words), or None where it is not possible."""


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one run: exact counts of parameters, `memory` in bytes, `seconds` of training.

    `based_on` names the basis of the time, `memory_based_on` that of the memory, for people; each is `..._measured`
    where that is earlier runs of the same method and backbone. The time of parents that are trained with the run is not
    in `seconds` but in `parents_seconds`.
    """

    method: str
    trainable_parameters: int
    total_parameters: int
    memory: int
    seconds: float
    based_on: str
    parents_seconds: float = 0.0
    memory_based_on: str = ""
    time_measured: bool = False
    memory_measured: bool = False


def bases(texts: Iterable[str]) -> str:
    """What the figures of several methods stand on, in words: once if it is the same, else by method."""
    known = list(dict.fromkeys(texts))
    if len(known) < 2:
        return "".join(known)
    return tr("{bases}, by method", bases=tr(" or ").join(known))


def estimate(
    config: RunConfig, *, earlier: Sequence[Run] = (), beside: Sequence[RunConfig] = (), device: Device | None = None
) -> Estimate:
    """Estimated cost of a recipe, calibrated by `earlier` finished runs on this machine.

    `device` is where it would train: only earlier runs on the same device count, and a step that was simulated for it
    (`training.simulate.ensure`) is used. `beside` are the other recipes of the suite: a parent that is among them, or
    is trained already, adds no cost.
    """
    return estimates([config], earlier=earlier, beside=beside, device=device)[0]


def estimates(
    configs: Sequence[RunConfig],
    *,
    earlier: Sequence[Run] = (),
    beside: Sequence[RunConfig] = (),
    device: Device | None = None,
) -> list[Estimate]:
    """Estimated costs of recipes that stand in one table: time and memory are each estimated one way for all of them.

    That is the first way that all of them, and the parents trained with them, allow: earlier runs of the same method
    and backbone; a simulated step; for time other earlier runs, scaled by their operations; the shapes alone.
    """
    here = [run for run in earlier if ways.trained_here(run, device)]
    lacking = {id(config): _missing_parents(config, earlier, beside) for config in configs}
    every = [*configs, *(parent for parents in lacking.values() for parent in parents)]

    def first(candidates: Sequence[Way]) -> tuple[list[tuple[float, str]], bool]:
        """(the estimates of the first way that all allow, whether that is the first way of all: earlier runs)."""
        for way in candidates:
            estimated = [way(config) for config in every]
            if None not in estimated:
                return estimated, way is candidates[0]
        raise AssertionError("the last way is always there")

    times, time_measured = first(
        (
            partial(ways.time_of_runs, runs=here),
            partial(ways.time_of_step, earlier=earlier, device=device, runs=here),
            partial(ways.time_of_others, runs=ways.with_known_backbone(here)),
            partial(ways.time_of_shapes, device=device),
        )
    )
    memories, memory_measured = first(
        (
            partial(ways.memory_of_runs, runs=here),
            partial(ways.memory_of_step, earlier=earlier, device=device),
            partial(ways.memory_of_shapes, earlier=earlier),
        )
    )
    seconds = {id(config): time for config, (time, _) in zip(every, times, strict=True)}
    return [
        Estimate(
            method=config.method,
            trainable_parameters=(counts := ways.counts(config, earlier))[0],
            total_parameters=counts[1],
            memory=round(memory),
            seconds=time,
            based_on=basis,
            parents_seconds=sum(seconds[id(parent)] for parent in lacking[id(config)]),
            memory_based_on=memory_basis,
            time_measured=time_measured,
            memory_measured=memory_measured,
        )
        for config, (time, basis), (memory, memory_basis) in zip(configs, times, memories, strict=False)
    ]


def simulated(configs: Sequence[RunConfig], *, earlier: Sequence[Run] = (), device: Device) -> bool:
    """Whether time and memory of these recipes, and of their parents, can be estimated from a step simulated before."""
    every = [one for config in configs for one in (config, *recipes.parents_of(config))]
    return all(ways.time_of_step(one, earlier=earlier, device=device) is not None for one in every)


def _missing_parents(config: RunConfig, earlier: Sequence[Run], beside: Sequence[RunConfig]) -> list[RunConfig]:
    """Parents that would be trained with a run: neither trained before nor in the same suite."""
    parents = recipes.parents_of(config)
    available = {recipes.identity_of(run) for run in earlier if parents and run.can_predict and not run.adopted}
    available |= {recipes.identity(other) for other in beside if parents}
    return [parent for parent in parents if recipes.identity(parent) not in available]


def too_large(cost: Estimate, *, free: int | None) -> str | None:
    """Warning that a run needs more than the `free` bytes of memory; None if it fits or `free` is None."""
    if free is None or cost.memory <= free:
        return None
    return tr(
        "{method} needs about {needed} GB and {free} GB are free: "
        "choose a smaller batch size, maximum length or backbone.",
        method=tr(methods.get(cost.method).title),
        needed=f"{cost.memory / 1e9:.1f}",
        free=f"{free / 1e9:.1f}",
    )
