"""What the panel of one run shows: name and state, figures, origin, recipe, log. Imports no Gradio."""

from __future__ import annotations

from collections import deque
from typing import Any

from trainer import tasks
from trainer.analysis import baseline
from trainer.jobs.progress import describe as event_text
from trainer.markup import render
from trainer.runs import recipes
from trainer.runs.run import Run
from trainer.runs.sizes import requested_and_available
from trainer.texts import tr
from trainer.ui.common.lab import Lab, run_name
from trainer.ui.live import groups as live_groups
from trainer.ui.train import groups
from trainer.ui.train.status import describe, interval, percent

LOG_LINES = 25


def title_html(lab: Lab, run: Run) -> str:
    """A run's name and state as HTML, with its progress while it trains."""
    runs = lab.runs()
    waiting = [other.id for other in runs if other.state == "queued"]
    text, share = describe(lab, run, queue_position=waiting.index(run.id) + 1 if run.id in waiting else 1)
    name = groups.names(runs).get(run.id, run_name(run))
    progress = share if run.state == "running" else None
    return render("train/title.html", run_id=run.id, name=name, state=run.state, text=text, progress=progress)


def details_html(lab: Lab, run: Run) -> str:
    """A run's figures, origin, parents, recipe and options as HTML."""
    recipe = run.recipe.model_dump(mode="json", exclude_none=True, exclude={"options", "parents", "track"})
    options = {f"{run.recipe.method}.{name}": value for name, value in run.recipe.options.items()}

    def as_text(pairs: Any) -> list[tuple[str, str]]:
        return [(name, lab.shown(_value(value))) for name, value in pairs]

    return render("train/details.html", facts=as_text(_facts(lab, run)), recipe=as_text({**recipe, **options}.items()))


def _facts(lab: Lab, run: Run) -> list[tuple[str, str]]:
    lines = _figures(lab, run) if run.result else []
    if (name := _name_in_live(lab, run)) and name != groups.names(lab.runs()).get(run.id):
        lines.append((tr("Name in Live"), name))
    lines += [(tr("Run"), run.id), (tr("Created"), run.created_at)]
    if run.adopted:
        lines.append((tr("From"), run.adopted.source))
    else:
        lines.append((tr("Learning rate"), recipes.rate_text(run)))
    if run.bundled:
        lines.append((tr("Example run, made by"), run.bundled.command))
        if not run.can_predict:
            lines.append((tr("Weights"), tr("did not come with it; press Retrain to have them")))
    if run.recipe.parents:
        parents = (lab.find(parent) for parent in run.recipe.parents)
        names = [run_name(parent) if parent else tr("a deleted run") for parent in parents]
        lines.append((tr("Parents"), ", ".join(names)))
    if run.can_predict and not run.adopted:
        lines.append((tr("Publish"), f"python -m trainer push {run.id} --repo OWNER/NAME"))
    return lines


def _name_in_live(lab: Lab, run: Run) -> str | None:
    """What Live calls a run, among all runs of its task that can predict; None for one that cannot."""
    able = [other for other in lab.runs() if other.state == "finished" and other.can_predict]
    return next((task.names[run.id] for task in live_groups.groups(able) if run.id in task.names), None)


def _figures(lab: Lab, run: Run) -> list[tuple[str, str]]:
    """A finished run's accuracy beside the majority-class baseline, and the sentences that it stands on."""
    about, accuracy = run.result.meta_info.dataset_info, percent(run.result.test.accuracy)
    count, ends = f"{about.sizes.test:,}", interval(lab, run)
    shown = (
        tr(
            "{accuracy}%; interval at 95%: {low} to {high}; {count} test sentences",
            accuracy=accuracy,
            low=percent(ends[0]),
            high=percent(ends[1]),
            count=count,
        )
        if ends
        else tr("{accuracy}%; {count} test sentences", accuracy=accuracy, count=count)
    )
    if run.multi_label:
        lines = [(tr("Test exact match"), shown), (tr("F1, micro and macro"), _f1(run))]
    else:
        label, share = baseline.majority(run)
        lines = [
            (tr("Test accuracy"), shown),
            (tr("Majority-class baseline"), tr("{accuracy}%: always {label}", accuracy=percent(share), label=label)),
        ]
    if (only := baseline.only_label(run)) is not None:
        lines.append((tr("Predicts one label only"), tr("{label}, whatever the sentence", label=only)))
    sizes = {split: getattr(about.sizes, split) for split in tasks.SPLITS}
    return [*lines, (tr("Sentences"), requested_and_available(run.recipe, sizes, about.notes))]


def _f1(run: Run) -> str:
    """The F1 of a multi-label run, beside the baseline of the most frequent set of labels."""
    test, baselines = run.result.test, run.result.baselines
    shown = tr("{micro}% and {macro}%", micro=percent(test.micro.f1), macro=percent(test.macro.f1))
    if baselines is None:
        return shown
    share = percent(baselines.majority.accuracy)
    return tr("{f1}; always the most frequent set of labels: exact match {accuracy}%", f1=shown, accuracy=share)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def log_text(lab: Lab, run: Run) -> str:
    """The last lines of a run's events, and of its libraries' output in log.txt."""
    events, _ = lab.store.events(run.id)
    parts = [text for event in events if (text := event_text(event, exact=run.multi_label))][-LOG_LINES:]
    try:
        with (run.folder / "log.txt").open(encoding="utf-8", errors="replace") as file:
            written = [line.rstrip() for line in deque(file, LOG_LINES)]
    except OSError:
        written = []
    if written:
        parts += ["", "log.txt:", *written]
    return lab.shown("\n".join(parts))
