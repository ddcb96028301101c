"""The estimated cost of each run before launching, whether it fits into memory, and the equal command line."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainer import methods, tasks
from trainer.config import RunConfig
from trainer.errors import UserError, sentence
from trainer.jobs.progress import duration
from trainer.machine.device import free_memory
from trainer.markup import render
from trainer.runs import estimate, lengths, recipes
from trainer.runs.sizes import requested_and_available
from trainer.texts import mark, tr, tr_count
from trainer.ui.common.lab import Lab, note, remark
from trainer.ui.common.tables import Cell, Column, table
from trainer.ui.train import form as train_form

ESTIMATED = "≈ "
"""Before a figure that is estimated; one without it is exact, or measured in earlier runs."""


class Plan(NamedTuple):
    """What a launch would cost and be, as HTML: the estimate or an error sentence, the command line, and in short."""

    cost: str
    command: str
    short: str


def plan(lab: Lab, form: dict[str, Any]) -> Plan:
    """The cost of the form's runs; while the form has an error, that, no command line, and in short where to look."""
    try:
        suite = train_form.suite_of(form)
        configs, _ = train_form.recipes_of(form)
        command = recipes.command(**suite)
        costs = _estimates(lab, [config for config in configs if config.seed == suite["seeds"][0]])
        sentences = sentences_of(configs[0])
    except (UserError, OSError) as error:
        look = tr("Something in the form has to change before a run can start: see Estimated cost.")
        return Plan(note(lab.shown(sentence(error)), "warning"), "", remark(look))
    seeds = len(suite["seeds"])
    html = estimate_html(lab, costs, seeds=seeds, sentences=sentences)
    return Plan(html, command_html(lab.shown(command)), remark(in_short(costs, seeds=seeds)))


def sentences_of(config: RunConfig) -> str:
    """The sentences that a recipe requests and gets; empty for a task of the Hub, which is not downloaded for this."""
    supply = tasks.supply(config)
    return requested_and_available(config, supply.limited(config), supply.notes) if supply else ""


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


def estimate_html(
    lab: Lab, costs: list[tuple[RunConfig, estimate.Estimate]], *, seeds: int, sentences: str = ""
) -> str:
    """The estimate as HTML: a row a method, the sum, its basis, and a warning for each run that will not fit."""
    free = free_memory(lab.device) if lab.device else None
    fit = lengths.fit(costs[0][0])  # all methods of a form have one task and one backbone
    too_large = [text for _, cost in costs if (text := estimate.too_large(cost, free=free))]
    return render(
        "train/estimate.html",
        warnings=[*too_large, *(fit.warnings(costs[0][0].backbone) if fit else ())],
        table=_table(costs),
        summary=_length(costs, seeds=seeds),
        legend=_legend([cost for _, cost in costs]),
        sentences=sentences,
    )


def _legend(costs: list[estimate.Estimate]) -> str:
    """Sentences on which figures are exact, measured or estimated, and from what. A column is of one kind."""
    memory = estimate.bases(cost.memory_based_on for cost in costs)
    time = estimate.bases(cost.based_on for cost in costs)
    memory_measured, time_measured = costs[0].memory_measured, costs[0].time_measured
    about_memory = (
        tr("Memory is as measured in {runs}.", runs=memory)
        if memory_measured
        else tr("Memory is estimated (≈) from {basis}.", basis=memory)
    )
    about_time = (
        tr("Time is at the speed measured in {runs}.", runs=time)
        if time_measured
        else tr("Time is estimated (≈) from {basis}.", basis=time)
    )
    return " ".join([tr("Parameters are exact."), about_memory, about_time])


def _table(costs: list[tuple[RunConfig, estimate.Estimate]]) -> str:
    """A row a method, in three columns that a phone has room for: further figures stand below."""
    columns = [
        Column.named(mark("Method"), numeric=False),
        Column.named(mark("Memory")),
        Column.named(mark("Time")),
    ]
    rows = []
    for config, cost in costs:
        known = (cost.memory_measured, cost.time_measured)
        memory, time = ("" if measured else ESTIMATED for measured in known)
        about_memory, about_time = (tr("measured") if measured else tr("estimated") for measured in known)
        trained = tr("{count} parameters train", count=f"{cost.trainable_parameters:,}")
        parents = tr("and {time} for its parents", time=time + duration(cost.parents_seconds))
        rows.append(
            [
                Cell(tr(methods.get(config.method).title), below=trained),
                Cell(f"{memory}{cost.memory / 1e6:,.0f} MB", cost.memory / 1e6, below=about_memory),
                Cell(
                    time + duration(cost.seconds),
                    cost.seconds,
                    below=f"{about_time}; {parents}" if cost.parents_seconds else about_time,
                ),
            ]
        )
    return table(columns, rows, name="estimate", title=tr("Estimated cost of each run"), sortable=False, csv=False)


def in_short(costs: list[tuple[RunConfig, estimate.Estimate]], *, seeds: int) -> str:
    """The number of runs and the time of all together, for the line of the button."""
    time = duration(seeds * sum(cost.seconds + cost.parents_seconds for _, cost in costs))
    return tr_count("{count} run, about {time}", "{count} runs, about {time}", seeds * len(costs), time=time)


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
        "About {time} of training for {count} run.",
        "About {time} of training for {count} runs, one after another.",
        count,
        time=time,
    )
