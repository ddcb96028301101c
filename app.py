"""PEFT Lab's page: train, compare and try fine-tuning methods side by side. Start it with `python app.py`."""

from __future__ import annotations

import argparse
import io
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import partial

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # set before Gradio is imported: no usage data is sent

from trainer.ui.common.quick_import import without_stubs

with without_stubs():
    import gradio as gr

from trainer import texts
from trainer.errors import UserError, one_of
from trainer.jobs import keeper
from trainer.machine import hosting
from trainer.machine.device import share_cores
from trainer.publish import bundled
from trainer.texts import mark, tr
from trainer.ui import static
from trainer.ui.common import (
    config_cache,
    endpoints,
    header,
    health,
    language,
    log,
    requests,
    script,
    server,
    theme,
    uploads,
)
from trainer.ui.common.lab import Lab
from trainer.ui.common.page import Page
from trainer.ui.common.timekeeper import Timekeeper
from trainer.ui.compare import tab as compare_tab
from trainer.ui.lesson import tab as lesson_tab
from trainer.ui.live import tab as live_tab
from trainer.ui.train import tab as train_tab


def build_app(lab: Lab | None = None) -> gr.Blocks:
    """The page: four tabs on one store of runs; it opens on Live."""
    lab = lab or Lab.open()
    # Where strangers can upload files, Gradio checks every hour and deletes those older than a day.
    cleaning = None if lab.access.rules.open else (3600, 24 * 3600)
    with Page(lab, title=language.TITLE, analytics_enabled=False, fill_width=True, delete_cache=cleaning) as page:
        header.build(lab, page)
        stored, lesson_states = train_tab.states(), lesson_tab.states()
        with gr.Tabs() as tabs:
            with gr.Tab(tr("Live"), id="live") as live:
                live_inputs = live_tab.build(lab, live, page, tabs)
            with gr.Tab(tr("Compare"), id="compare") as compare:
                sentences = compare_tab.build(lab, compare)
            with gr.Tab(tr("Train"), id="train", render_children=True):
                train_tab.build(lab, page, stored)
            with gr.Tab(tr("Lesson"), id=lesson_tab.TAB) as lesson:
                lesson_tab.build(lab, tab=lesson, page=page, tabs=tabs, stored=lesson_states, live=live_inputs)
        # A sentence pressed in Compare is predicted in Live.
        opened = sentences.select(pressed, None, [live_inputs.text, tabs], **live_tab.NEWEST)
        opened.then(**live_inputs.predict)
        endpoints.describe(page)
    return page


def pressed(event: gr.EventData) -> tuple[str, gr.Tabs]:
    """(the sentence that was clicked, an update that opens the Live tab)."""
    return str(event.value), gr.Tabs(selected="live")


def choose_language(arguments: Sequence[str] | None = None) -> None:
    """Set the language given by `--language`, if any, for this process and the training processes that it starts.

    Raises `ArgumentError` for a language without a catalogue.
    """
    parser = argparse.ArgumentParser(description="Serve the page. Its port is in the variable GRADIO_SERVER_PORT.")
    known = ", ".join(texts.languages())
    parser.add_argument("--language", metavar="CODE", help=f"what the page is written in: one of {known}")
    code = parser.parse_args(arguments).language
    if code is None:
        return
    if code not in texts.languages():
        raise one_of(mark("a language"), code, texts.languages())
    os.environ[texts.VARIABLE] = code


def main() -> None:
    """Serve the page; slow imports run in a thread after the server has started."""
    try:
        choose_language()
        _serve()
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_status) from None


def _serve() -> None:
    """Raises `UserError` for a setting that is none, and where no port is free."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack the language's letters
    share_cores()
    # Gradio reads a constant that Starlette renamed, at every event; without this each prints a warning.
    warnings.filterwarnings("ignore", message=".*HTTP_422_UNPROCESSABLE_ENTITY.*")
    hosting.admit_zero_gpu()
    lab = Lab.open()
    bundled.bring_where_due(lab.store.root)
    log.configure()
    if about := hosting.about_kernels():
        print(about, file=sys.stderr)
    page = build_app(lab)
    # Requests twice: around Gradio's own layers, and within them for what its routes raise.
    layers = [*requests.middleware(lab), *config_cache.middleware(), *language.middleware(), *uploads.middleware(lab)]
    served = server.application(
        lab,
        page,
        outside=[*health.middleware(lab), *requests.middleware(lab)],
        theme=theme.theme(),
        css_paths=static.styles(),
        favicon_path=static.FOLDER / "icon.svg",
        head=script.head(),
        app_kwargs={"middleware": layers, "exception_handlers": requests.HANDLERS},
    )

    def ready() -> None:
        keep = partial(keeper.keep, lab.store, may_start=lab.may_start_worker)
        threading.Thread(target=keep, daemon=True).start()
        # Not earlier: the imports would compete with the start of the server.
        threading.Thread(target=lab.warm_up, daemon=True).start()
        Timekeeper(lab).start()

    server.serve(lab, served, page, ready)


if __name__ == "__main__":
    main()
