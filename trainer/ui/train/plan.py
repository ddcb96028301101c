"""The estimated cost of each run before launching, whether it fits into memory, and the equal command line."""

from __future__ import annotations

from typing import Any

from trainer import methods
from trainer.config import RunConfig
from trainer.errors import UserError, sentence
from trainer.jobs.progress import duration
from trainer.machine.device import free_memory
from trainer.markup import render
from trainer.runs import estimate, lengths, recipes
from trainer.runs.metrics import METRICS
from trainer.texts import mark, tr, tr_count
from trainer.ui.common.lab import Lab, note
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.train import form as train_form


def plan(lab: Lab, form: dict[str, Any]) -> tuple[str, str]:
    """(the estimate as HTML, or an error sentence; the command line, empty while the form has an error)."""
    try:
        suite = train_form.suite_of(form)
        configs, _ = train_form.recipes_of(form)
        command = recipes.command(**suite)
        costs = _estimates(lab, [config for config in configs if config.seed == suite["seeds"][0]])
    except (UserError, OSError) as error:
        return note(lab.shown(sentence(error)), "warning"), ""
    return estimate_html(lab, costs, seeds=len(suite["seeds"])), command_html(lab.shown(command))


def command_html(command: str) -> str:
    """The command line as HTML, with a button that copies it."""
    return render("train/command.html", command=command)


def _estimates(lab: Lab, configs: list[RunConfig]) -> list[tuple[RunConfig, estimate.Estimate]]:
    earlier = lab.runs()
    costs = estimate.estimates(configs, earlier=earlier, beside=configs, device=lab.device)
    return list(zip(configs, costs, strict=True))


def simulate(lab: Lab, form: dict[str, Any]) -> bool:
    """Simulate the steps of the form's runs that were not simulated before; whether there were any.

    Takes some seconds, so a caller shows `plan` first. Nothing is simulated before the app has warmed up, and only one
    form at a time.
    """
    if not lab.warm or lab.device is None:
        return False
    try:
        suite = train_form.suite_of(form)
        configs = [one for one in train_form.recipes_of(form)[0] if one.seed == suite["seeds"][0]]
        earlier = lab.runs()
        with lab.simulating:
            if estimate.simulated(configs, earlier=earlier, device=lab.device):
                return False
            from trainer.training.simulate import ensure

            ensure(configs, earlier=earlier, device=lab.device)
    except (UserError, OSError):  # `plan` says what is wrong with the form
        return False
    return True


def estimate_html(lab: Lab, costs: list[tuple[RunConfig, estimate.Estimate]], *, seeds: int) -> str:
    """The estimate as HTML: a row a method, the sum, its basis, and a warning for each run that will not fit."""
    free = free_memory(lab.device) if lab.device else None
    fit = lengths.fit(costs[0][0])  # all methods of a form have one task and one backbone
    too_large = [text for _, cost in costs if (text := estimate.too_large(cost, free=free))]
    bases = ", ".join(dict.fromkeys(basis for _, cost in costs for basis in (cost.based_on, cost.memory_based_on)))
    about = tr("Parameters are exact; time and memory are estimated from {bases}.", bases=bases)
    return render(
        "train/estimate.html",
        warnings=[*too_large, *(fit.warnings(costs[0][0].backbone) if fit else ())],
        table=_table(costs),
        summary=f"{_length(costs, seeds=seeds)} {about}",
    )


def _table(costs: list[tuple[RunConfig, estimate.Estimate]]) -> str:
    with_parents = any(cost.parents_seconds for _, cost in costs)
    columns = [
        Column.named(mark("Method"), numeric=False),
        Column.named(METRICS["trainable"].title),
        Column.named(METRICS["peak_memory"].title),
        Column.named(mark("Time")),
        *([Column.named(mark("Time of parents"))] if with_parents else []),
    ]
    rows = []
    for config, cost in costs:
        row = [
            Cell(tr(methods.get(config.method).title)),
            Cell(f"{cost.trainable_parameters:,}", cost.trainable_parameters),
            Cell(f"{cost.memory / 1e6:,.0f}", cost.memory / 1e6),
            Cell(duration(cost.seconds), cost.seconds),
        ]
        rows.append(row + [Cell(duration(cost.parents_seconds) if cost.parents_seconds else "–")] * with_parents)
    return table(columns, rows, name="estimate", title=tr("Estimated cost of each run"), sortable=False, csv=False)


def _length(costs: list[tuple[RunConfig, estimate.Estimate]], *, seeds: int) -> str:
    """A sentence on the training time of all runs together."""
    time = duration(seeds * sum(cost.seconds + cost.parents_seconds for _, cost in costs))
    count = seeds * len(costs)
    if seeds > 1:
        return tr(
            "About {time} of training for {count} runs ({seeds} seeds), one after another.",
            time=time,
            count=f"{count:,}",
            seeds=seeds,
        )
    return tr_count(
        "About {time} of training for {count} run, one after another.",
        "About {time} of training for {count} runs, one after another.",
        count,
        time=time,
    )
