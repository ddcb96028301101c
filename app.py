"""PEFT Lab: train, compare and question fine-tuning methods side by side. Start it with `python app.py`."""

from __future__ import annotations

import os
import threading

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: nothing is sent anywhere

import gradio as gr

from trainer.device import share_cores
from trainer.ui import compare_tab, live_tab, theme, train_tab
from trainer.ui.lab import Lab, note


def build_app(lab: Lab | None = None) -> gr.Blocks:
    """The page: three tabs over one store."""
    lab = lab or Lab.open()
    with gr.Blocks(title="PEFT Lab", analytics_enabled=False) as page:
        gr.Markdown("# PEFT Lab\nTrain fine-tuning methods on the same sentences, compare them, and question them.")
        with gr.Tab("Train"):
            train_tab.build(lab)
        with gr.Tab("Compare") as compare:
            compare_tab.build(lab, compare, page)
        with gr.Tab("Live") as live:
            live_tab.build(lab, live, page)
        device = gr.HTML()
        page.load(lambda: note(lab.device_line), None, device, api_visibility="private", show_progress="hidden")
    return page


def main() -> None:
    """Serve the page; what takes seconds to import is imported behind it."""
    share_cores()
    lab = Lab.open()
    page = build_app(lab)
    threading.Thread(target=lab.warm_up, daemon=True).start()
    page.launch(theme=theme.theme(), css=theme.CSS, show_error=True)


if __name__ == "__main__":
    main()
