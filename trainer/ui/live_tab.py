"""Live: one sentence through every trained model, the answers side by side in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from trainer import inference
from trainer.errors import UserError, sentence
from trainer.inference import Answer
from trainer.store import Run
from trainer.ui.lab import Lab, endpoint, escape, method_title, note, run_name, task_name
from trainer.ui.theme import COLOURS

EXAMPLES = (
    ("Plain praise", "A warm, funny and beautifully acted film."),
    ("Negation", "It is not a bad film, and never a dull one."),
    ("Contrast", "The cast is splendid, but the story falls apart after an hour."),
    ("Sarcasm", "Wonderful: two more hours of my life that nobody will give back."),
    ("Mixed feeling", "I laughed, I yawned, and I would not see it twice."),
)
MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Live:
    """What the rest of the page needs of the tab: where the sentence goes, and how it is asked."""

    text: gr.Textbox
    ask: dict[str, Any]


def build(lab: Lab, tab: gr.Tab, page: gr.Blocks, tabs: gr.Tabs) -> Live:
    """Lay out the tab and connect it."""
    text = gr.Textbox(
        label="A sentence",
        placeholder="Type a sentence and press Enter",
        lines=2,
        max_length=MAX_CHARACTERS,
        submit_btn=False,
    )
    with gr.Row():
        buttons = [gr.Button(name, size="sm", min_width=110) for name, _ in EXAMPLES]
    chosen = gr.Dropdown([], multiselect=True, label="Runs", info="All finished runs if none is chosen.")
    ask_button = gr.Button("Ask every run", variant="primary")
    answers = gr.HTML()
    ask = {"fn": partial(ask_html, lab), "inputs": [text, chosen], "outputs": answers, "api_visibility": "private"}
    ask_button.click(**ask)
    text.submit(**ask)
    for button, (_, example) in zip(buttons, EXAMPLES, strict=True):
        button.click(
            lambda example=example: example, None, text, api_visibility="private", show_progress="hidden"
        ).then(**ask)
    for listen in (tab.select, page.load):
        listen(partial(offer, lab), answers, [chosen, answers], api_visibility="private", show_progress="hidden")
    gr.api(endpoint(predict_api, lab), api_name="predict")
    return Live(text, ask)


def offer(lab: Lab, shown: str | None) -> tuple[dict, Any]:
    """The runs that can be asked, and what to do next where no answers are shown."""
    choices = [(f"{run_name(run)} ({run.id[-8:]})", run.id) for run in inference.choose(lab.store)]
    return gr.update(choices=choices), gr.skip() if "lab-answers" in (shown or "") else empty(lab)


def empty(lab: Lab) -> str:
    """What stands where the answers will be."""
    if inference.choose(lab.store):
        return '<div class="lab-empty">Type a sentence or choose an example.</div>'
    return '<div class="lab-empty">No trained runs yet. Train some in the Train tab: they answer here.</div>'


def ask_html(lab: Lab, text: str, chosen: list[str] | None) -> str:
    """Every chosen run's answer, or the problem in one sentence."""
    try:
        runs = inference.choose(lab.store, chosen)
        if not runs:
            return empty(lab)
        return answers_html(runs, lab.predictor.ask(text or "", runs))
    except (UserError, OSError, RuntimeError) as error:
        return note(sentence(error), "warning")


def answers_html(runs: list[Run], answers: list[Answer]) -> str:
    """One card a run, in the order of `runs`; labels in the task's own order, so that bars line up."""
    predicted = {answer.predicted for answer in answers}
    alike = len({frozenset(answer.probabilities) for answer in answers}) == 1
    verdict = (
        "" if not alike or len(answers) < 2 else "All runs agree." if len(predicted) == 1 else "The runs disagree."
    )
    cards = "".join(_card(run, answer) for run, answer in zip(runs, answers, strict=True))
    return f'{note(verdict)}<div class="lab-answers">{cards}</div>'


def _card(run: Run, answer: Answer) -> str:
    bars = "".join(
        f'<div class="lab-bar"><span>{escape(name)}</span><span class="lab-track">'
        f'<div class="lab-fill" style="width:{100 * share:.1f}%"></div></span><span>{share:.1%}</span></div>'
        for name, share in answer.probabilities.items()
    )
    return (
        f'<article class="lab-answer" style="--lab-colour:{COLOURS.get(run.recipe.method, "#888888")}">'
        f"<h3>{escape(method_title(run.recipe.method))}</h3>"
        f'<div class="lab-small">{escape(run.label or f"{task_name(run)}, seed {run.recipe.seed}")}</div>'
        f'<div class="lab-label">{escape(answer.predicted)} {answer.confidence:.0%}</div>{bars}'
        f'<div class="lab-small">{answer.seconds * 1000:.1f} ms</div></article>'
    )


def predict_api(lab: Lab, text: str, runs: list[str] | None = None) -> list[dict]:
    """Ask trained runs about one text: one object a run, in a fixed order.

    Parameters:
        text: the sentence.
        runs: ids of runs; every finished run if not given.

    Each object has run_id, label, method, predicted, probabilities (by label) and seconds.
    """
    try:
        return [answer.__dict__ for answer in lab.predictor.ask(text, inference.choose(lab.store, runs))]
    except UserError as error:
        raise gr.Error(str(error)) from None
