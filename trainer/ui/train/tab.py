"""Train: choose what to train or load, launch it in a process of its own, watch it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gradio as gr

from trainer.errors import ArgumentError, UserError, sentence
from trainer.jobs import queue as jobs
from trainer.runs import recipes
from trainer.runs.store import ENDED, Run
from trainer.texts import mark, tr, tr_count
from trainer.ui.common import access, charts, given
from trainer.ui.common.access import guarded
from trainer.ui.common.lab import Lab, endpoint, note
from trainer.ui.common.tables import PICK
from trainer.ui.train import form as train_form
from trainer.ui.train import load as train_load
from trainer.ui.train import plan as train_plan
from trainer.ui.train import queue as train_queue
from trainer.ui.train.queue import queue_html

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
SECONDS_BETWEEN_CHARTS = 4.0
"""Live charts are drawn at most this often: each drawing is a new picture."""
AFTER_THE_END = mark(
    "The name is what lists and charts call the run; an empty one takes it away. "
    "Resume goes on from the last checkpoint of a run that failed or was cancelled. Train again queues a new run with "
    "the same recipe."
)
PANEL = ("details", "log", "label", "rename", "cancel", "resume", "again", "delete", "zip")
"""What the panel shows of a run, in the order of `train_queue.open_run`."""


def build(lab: Lab, page: gr.Blocks) -> None:
    """Lay out the tab and connect it. What changes runs is `guarded`: see `trainer.machine.access`."""
    access.build(lab, page)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            gr.Markdown("## " + tr("What to train"))
            preset, fields = train_form.build(lab)
            gr.Markdown("### " + tr("Before you start"))
            cost = gr.HTML()
            command = gr.HTML()
            train = gr.Button(tr("Train"), variant="primary")
            message = gr.HTML()
            loaders = _build_load()
        with gr.Column(scale=3, min_width=320):
            gr.Markdown("## " + tr("Runs"))
            queue = gr.HTML(js_on_load=PICK)
            panel = _build_panel()
            about = tr(
                "Curves of the chosen run's suite, or of the newest, appear here. "
                "Loss is cross-entropy: 0.69 is a coin flip between two labels."
            )
            gr.Markdown("### " + tr("While it trains") + "\n" + about)
            with gr.Row():
                drawn = [
                    gr.Plot(show_label=False, label=charts.curve_title(curve), min_width=280, visible=False)
                    for curve in train_queue.LIVE_CURVES
                ]
    form = list(fields.values())
    kept = gr.BrowserState(None, storage_key="peft-lab-form", secret="the form holds no secret")
    seen = gr.State({})
    view = [seen, queue, panel["run"], *drawn]
    look = {"fn": partial(refresh, lab), "inputs": [seen, panel["run"]], "outputs": view, **QUIET}
    _connect_form(lab, page, preset, fields, cost, command, kept)
    launch = guarded(lab, train_form.named(submit, list(fields), lab))
    train.click(launch, form, message, api_visibility="private", show_progress="minimal").then(**look)
    _connect_panel(lab, panel, look)
    _connect_load(lab, loaders, fields, look)
    queue.select(picked, None, [panel["run"], panel["whole"], panel["said"]], **QUIET)
    timer = gr.Timer(1.5)
    for listen in (page.load, timer.tick):
        listen(**look)
    timer.tick(partial(tail, lab), [panel["run"], panel["log"]], [panel[name] for name in PANEL], **QUIET)
    gr.api(endpoint(launch_api, lab), api_name="launch")
    gr.api(endpoint(cancel_api, lab), api_name="cancel")


def _build_panel() -> dict[str, Any]:
    """One run: everything that can be done to it."""
    with gr.Accordion(tr("One run: log, cancel, resume, train again, rename, download, delete"), open=False) as whole:
        run = gr.Dropdown([], label=tr("Run"), info=tr("Or press its name in the list above."), value=None)
        made: dict[str, Any] = {"whole": whole, "run": run}
        made["label"] = gr.Textbox(
            label=tr("Name"),
            max_length=80,
            interactive=False,
        )
        made["said"] = gr.HTML()
        with gr.Row():
            made["rename"] = gr.Button(tr("Rename"), interactive=False, min_width=90)
            made["cancel"] = gr.Button(tr("Cancel"), interactive=False, min_width=90)
            made["resume"] = gr.Button(tr("Resume"), interactive=False, min_width=90)
            made["again"] = gr.Button(tr("Train again"), interactive=False, min_width=110)
            made["zip"] = gr.Button(tr("Make a zip"), interactive=False, min_width=110)
            made["file"] = gr.DownloadButton(tr("Download the zip"), interactive=False, min_width=110)
            made["delete"] = gr.Button(tr("Delete"), interactive=False, min_width=90)
        gr.HTML(note(tr(AFTER_THE_END)))
        with gr.Group(visible=False) as made["sure"]:
            made["question"] = gr.HTML(elem_classes="lab-inset")
            with gr.Row():
                made["yes"] = gr.Button(tr("Yes, delete it"), variant="stop", min_width=120)
                made["no"] = gr.Button(tr("Keep it"), min_width=120)
        made["details"] = gr.HTML(note(tr("Choose a run.")))
        made["log"] = gr.Textbox(label=tr("Log"), lines=8, max_lines=14, interactive=False, elem_classes="lab-log")
    return made


def _build_load() -> dict[str, Any]:
    with gr.Accordion(tr("Load instead of training"), open=False):
        made: dict[str, Any] = {}
        gr.Markdown("#### " + tr("Runs of this app"))
        made["zips"] = gr.File(
            label=tr("Exported runs (zip)"), file_types=[".zip"], file_count="multiple", type="filepath", height=120
        )
        made["folder"] = gr.Textbox(
            label=tr("A folder of runs"),
            info=tr("Every ended run in it is copied into the store."),
            placeholder=tr("/path/on/the/machine/that/runs/this/app"),
        )
        made["load"] = gr.Button(tr("Load the folder"))
        gr.Markdown("#### " + tr("An adapter from elsewhere"))
        made["source"] = gr.Textbox(
            label=tr("PEFT or AdapterHub adapter"),
            info=tr("A local folder, or owner/name on the Hub. It is evaluated on the task and backbone chosen above."),
            placeholder=tr("owner/name"),
        )
        made["labels"] = gr.Textbox(
            label=tr("Its labels in their order"),
            info=tr("Only where the order is not the task's, such as: positive, negative."),
            placeholder=tr("as in the task"),
        )
        made["adopt"] = gr.Button(tr("Load and evaluate"))
        made["said"] = gr.HTML()
    return made


def _connect_form(lab: Lab, page: gr.Blocks, preset: gr.Radio, fields: dict[str, Any], cost, command, kept) -> None:
    form, names = list(fields.values()), list(fields)
    preset.input(train_form.fill, [preset], [preset, *form], **QUIET)
    # In the browser alone: a hundred quick changes cost nothing.
    gr.on([field.input for field in form], None, None, preset, js="() => 'custom'", **QUIET)
    preset.change(train_form.summary, preset, preset, **QUIET)
    gr.on(
        [field.change for field in form] + [preset.change],
        train_form.named(planned, names, lab),
        [*form, preset],
        [cost, command, kept],
        trigger_mode="always_last",
        **QUIET,
    )
    page.load(partial(train_form.restore, lab), kept, [preset, *form], **QUIET).then(
        train_form.named(planned, names, lab), [*form, preset], [cost, command, kept], **QUIET
    )


def _connect_panel(lab: Lab, panel: dict[str, Any], look: dict[str, Any]) -> None:
    run, said = panel["run"], panel["said"]
    shown = [panel[name] for name in PANEL]
    opened = {"fn": partial(train_queue.open_run, lab), "inputs": run, "outputs": shown, **QUIET}
    away = {"fn": lambda: gr.update(visible=False), "inputs": None, "outputs": panel["sure"], **QUIET}
    run.change(**opened).then(**away).then(
        lambda: gr.update(value=None, interactive=False), None, panel["file"], **QUIET
    )
    run.input(lambda: "", None, said, **QUIET)
    for name, act in (
        ("cancel", train_queue.cancel),
        ("resume", train_queue.resume),
        ("again", train_queue.again),
    ):
        panel[name].click(guarded(lab, partial(act, lab)), run, said, **QUIET).then(**look).then(**opened)
    for listen in (panel["rename"].click, panel["label"].submit):
        listen(guarded(lab, partial(train_queue.rename, lab)), [run, panel["label"]], said, **QUIET).then(**look)
    panel["zip"].click(
        partial(train_queue.as_zip, lab), run, [said, panel["file"]], api_visibility="private", show_progress="minimal"
    )
    panel["delete"].click(partial(ask_to_delete, lab), run, [panel["sure"], panel["question"]], **QUIET)
    panel["no"].click(**away)
    delete = guarded(lab, partial(train_queue.delete, lab))
    panel["yes"].click(delete, run, said, **QUIET).then(**away).then(**look).then(**opened)


def _connect_load(lab: Lab, made: dict[str, Any], fields: dict[str, Any], look: dict[str, Any]) -> None:
    busy = {"api_visibility": "private", "show_progress": "minimal"}
    zips, folder = (guarded(lab, partial(act, lab)) for act in (train_load.load_zips, train_load.load_folder))
    made["zips"].upload(zips, made["zips"], made["said"], **busy).then(**look)
    for listen in (made["load"].click, made["folder"].submit):
        listen(folder, made["folder"], made["said"], **busy).then(**look)
    adopt = guarded(lab, train_form.named(train_load.adopt, list(fields), lab))
    for listen in (made["adopt"].click, made["source"].submit):
        listen(adopt, [*fields.values(), made["source"], made["labels"]], made["said"], **busy).then(**look)


# Handlers


def planned(lab: Lab, form: dict[str, Any], preset: str) -> tuple[str, str, dict[str, Any]]:
    """(the estimate, the command line, what this browser keeps of the form)."""
    return (*train_plan.plan(lab, form), {**form, "preset": preset})


def submit(lab: Lab, form: dict[str, Any]) -> str:
    """Queue the form's suite; a problem is said under the button and nothing typed is lost."""
    try:
        configs, label = train_form.recipes_of(form)
        launched = jobs.launch(lab.store, configs, label=label)
    except (UserError, OSError) as error:
        return note(sentence(error), "warning")
    return note(
        tr_count(
            "{count} run queued. They go on without this page.",
            "{count} runs queued. They go on without this page.",
            len(launched),
        )
    )


def refresh(lab: Lab, seen: dict[str, Any], chosen: str | None) -> list[Any]:
    """What changed since `seen`: (what is shown now, the list, the runs to choose from, the live charts)."""
    runs = lab.store.list()
    waits = any(run.state not in ENDED for run in runs)
    if waits and not jobs.worker_is_alive(lab.store) and lab.may_start_worker():
        jobs.ensure_worker(lab.store)
    shown = train_queue.recent(runs)
    now = {
        "list": "|".join(f"{run.id}:{run.state}:{run.label}:{_size(run)}" for run in shown) or "empty",
        "runs": "|".join(f"{run.id}:{run.state}:{run.label}" for run in runs) or "empty",
        "charts": f"{chosen}|" + "|".join(f"{run.id}:{_size(run)}" for run in shown),
        "drawn": seen.get("drawn", 0.0),
    }
    at_work = any(run.state == "running" for run in runs)
    draw = now["charts"] != seen.get("charts") and (not at_work or time.time() - now["drawn"] > SECONDS_BETWEEN_CHARTS)
    if draw:
        now["drawn"] = time.time()
    else:
        now["charts"] = seen.get("charts")
    options = gr.skip()
    if now["runs"] != seen.get("runs"):
        ids = {run.id for run in runs}
        options = gr.update(choices=train_queue.choices(runs), value=chosen if chosen in ids else None)
    listed = queue_html(lab, runs) if now["list"] != seen.get("list") else gr.skip()
    drawn = train_queue.live_charts(lab, runs, chosen) if draw else [gr.skip()] * len(train_queue.LIVE_CURVES)
    return [now if now != seen else gr.skip(), listed, options, *drawn]


def tail(lab: Lab, chosen: str | None, log: str) -> list[Any]:
    """The panel of the chosen run where its log has grown, as it does when its state changes; a typed name stays."""
    run = train_queue.find(lab, chosen)
    if run is None or train_queue.log_text(lab, run) == log:
        return [gr.skip()] * len(PANEL)
    shown = train_queue.open_run(lab, chosen)
    shown[PANEL.index("label")] = gr.skip()
    return shown


def picked(event: gr.EventData) -> tuple[str, Any, str]:
    """Open the panel on the run whose name was pressed in the list."""
    return str(event.value), gr.update(open=True), ""


def ask_to_delete(lab: Lab, chosen: str | None) -> tuple[Any, str]:
    """The second question before a run is deleted."""
    run = train_queue.find(lab, chosen)
    if run is None:
        return gr.update(visible=False), ""
    name = train_queue.run_name(run)
    text = tr("Delete {run} ({id}) and its files? This cannot be undone.", run=name, id=run.id)
    return gr.update(visible=True), note(text, "warning")


def _size(run: Run) -> int:
    try:
        return (run.folder / "events.jsonl").stat().st_size
    except OSError:
        return 0


def launch_api(
    lab: Lab,
    methods: list[str],
    task: str = "movies",
    backbone: str = "minilm",
    settings: dict | None = None,
    password: str | None = None,
    request: gr.Request = None,
) -> list[str]:
    """Queue a suite of runs, one a method, and return their ids.

    Parameters:
        methods: names of methods, such as ["lora", "adapter"].
        task: a task's name, or the path of a file on the machine that runs the app.
        backbone: a backbone's name.
        settings: fields of the recipe or of a method, such as {"epochs": 1, "train_size": 200, "lora.r": 8}; "seeds"
            is a list, "seed" one seed.
        password: the app's password, where it has one; the owner of a Space may send a sign-in's cookie instead.
    """
    access.require(lab, request, password)
    with given.said(lab):
        chosen = given.settings("settings", settings)
        seeds = chosen.pop("seeds", None)
        if seeds is None:
            seeds = [chosen.pop("seed", 0)]
        if not isinstance(seeds, list):
            raise ArgumentError(expected=tr("a list of seeds"), got=repr(seeds), fix=tr("write it as [0, 1, 2]"))
        recipes.refuse_own_arguments(chosen)
        configs = recipes.suite(
            methods_=given.texts("methods", methods),
            seeds=train_form.few(seeds),
            task=given.text("task", task),
            backbone=given.text("backbone", backbone),
            **chosen,
        )
        return [run.id for run in jobs.launch(lab.store, configs)]


def cancel_api(lab: Lab, run_id: str, password: str | None = None, request: gr.Request = None) -> str:
    """Cancel a run that waits or trains, and return its state.

    Parameters:
        run_id: the run's id.
        password: the app's password, where it has one.
    """
    access.require(lab, request, password)
    with given.said(lab):
        return jobs.cancel(lab.store, given.text("run_id", run_id)).state
