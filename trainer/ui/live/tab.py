"""Live: one sentence through every trained model, the answers side by side in a fixed order; and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from trainer.serving import predictor as inference
from trainer.texts import mark, tr
from trainer.ui.common import arguments, confirm, tables
from trainer.ui.common.lab import Lab, endpoint, escape, note, run_name
from trainer.ui.live import examples as live_examples
from trainer.ui.live import file as live_file
from trainer.ui.live import link as live_link
from trainer.ui.live import missing as live_missing
from trainer.ui.live.ask import NOBODY, Session, ask, empty, labels_of, reset, resolve, tally_html, toggle, vanished
from trainer.ui.live.link import MAX_CHARACTERS
from trainer.ui.live.why import explain

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
NEWEST = {**QUIET, "trigger_mode": "multiple"}
"""Heard while an earlier press is still answered, which Gradio would ignore; `Turns` lets the newest one win."""
CONFIDENCE = mark(
    "A percentage is the probability that the run gives the label, not how often it is right: trained networks tend to "
    "be too sure (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."
)
BUTTONS = mark(
    "Explain: which words moved each answer (integrated gradients, Sundararajan et al. 2017). Copy link: an address "
    "that opens this sentence and these runs."
)
COPY = """() => { setTimeout(() => {
  const address = document.querySelector(".lab-link input");
  if (!address) return;
  address.select();
  navigator.clipboard?.writeText(address.value).catch(() => {});
}, 50); return []; }"""
"""Where a page is not allowed to write to the clipboard, the box with the address is still there to copy from."""

CSS = """
#live-text textarea { min-height: 4em !important; }
.lab-heading { font-size: 18px; font-weight: 600; margin: 12px 0 6px; }
.lab-examples { display: grid; gap: 6px; list-style: none; padding: 0 !important; margin: 0 !important;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 220px), 1fr)); }
.lab-examples li { margin: 0 !important; }
.lab-examples .lab-pick { height: 100%; line-height: 1.35; }
.lab-examples .lab-pick span { display: block; color: var(--body-text-color-subdued); }
.lab-link { display: block; font-size: 16px; }
.lab-link input { display: block; width: 100%; font-size: 16px; padding: 6px 10px; margin-top: 4px;
  border-radius: 6px; border: 1px solid var(--border-color-primary); color: var(--body-text-color);
  background: var(--input-background-fill); }
.lab-asked { font-size: 16px; margin: 6px 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.lab-verdict { font-size: 17px; margin: 4px 0 10px; padding: 6px 12px; border-radius: 8px; min-height: 2.4em;
  border: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
.lab-verdict { display: grid; }
.lab-verdict > span { grid-area: 1 / 1; }
.lab-verdict .lab-ghost { visibility: hidden; font-weight: 600; }
.lab-verdict.lab-split { border: 2px solid #D55E00; font-weight: 600; }
.lab-answer.lab-dissent { outline: 2px dashed #D55E00; outline-offset: 1px; }
.lab-answer.lab-untrained { border-style: dashed !important; }
.lab-tags { margin-top: 6px; display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.lab-tags.lab-room { min-height: 34px; }
.lab-preview .lab-table th:first-child { background: var(--block-background-fill); }
.lab-preview .lab-button { display: none; }
.lab-tag { border: 1px solid var(--body-text-color-subdued); border-radius: 12px; padding: 1px 10px; font-weight: 600; }
.lab-why { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px; margin: 0 0 12px;
  background: var(--background-fill-primary); font-size: 16px; overflow-wrap: anywhere; }
.lab-why h3 { font-size: 17px; margin: 0 0 2px; } .lab-why h4 { font-size: 16px; margin: 12px 0 2px; }
.lab-scores summary { cursor: pointer; font-size: 16px; padding: 4px 0; }
.lab-why p { margin: 6px 0; font-size: 16px; }
.lab-why .lab-small { color: var(--body-text-color-subdued); }
.lab-why .lab-sentence { font-size: 19px; line-height: 2; white-space: pre-wrap; }
.lab-word { text-decoration-line: underline; text-underline-offset: 5px; border-radius: 3px;
  text-decoration-thickness: calc(1.5px + 2.5px * var(--s)); }
.lab-for { text-decoration-color: #0072B2; background: rgba(0, 114, 178, calc(0.35 * var(--s))); }
.lab-against { text-decoration-style: wavy; text-decoration-color: #D55E00; text-decoration-thickness: 2px;
  background: rgba(213, 94, 0, calc(0.35 * var(--s))); }
.lab-unread { text-decoration: line-through; }
.lab-shade { display: inline-block; min-width: 4.5em; padding: 2px 6px; border-radius: 4px; text-align: right;
  background: rgba(0, 114, 178, calc(0.45 * var(--s))); }
.dark .lab-for { text-decoration-color: #56B4E9; }
.dark .lab-against { text-decoration-color: #E69F00; }
@media (max-width: 640px) { .lab-examples { max-height: 300px; overflow-y: auto; } }
"""


@dataclass(frozen=True)
class Live:
    """What the rest of the page needs of the tab: where the sentence goes, and how it is asked."""

    text: gr.Textbox
    ask: dict[str, Any]


def build(lab: Lab, tab: gr.Tab, page: gr.Blocks, tabs: gr.Tabs) -> Live:
    """Lay out the tab and connect it."""
    session = gr.State(Session())
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            text = gr.Textbox(
                label=tr("A sentence"),
                placeholder=tr("Type a sentence and press Enter"),
                lines=1,  # with more, Gradio would send the sentence with Shift and Enter only
                max_lines=6,
                elem_id="live-text",
                max_length=MAX_CHARACTERS,
                submit_btn=False,
            )
            chosen = gr.Dropdown(
                [],
                multiselect=True,
                label=tr("Runs"),
                info=tr("All finished runs if none is chosen."),
            )
            with gr.Row():
                untrained = gr.Checkbox(
                    False,
                    label=tr("The untrained backbone too"),
                    info=tr("what it says before training"),
                    min_width=220,
                )
                guessing = gr.Checkbox(
                    False, label=tr("Guess first"), info=tr("the class commits to a label"), min_width=220
                )
            guess = gr.Radio([], label=tr("What does the class say?"), value=None, visible=False)
            with gr.Row():
                ask_button = gr.Button(tr("Ask every run"), variant="primary", min_width=150)
                why_button = gr.Button(tr("Explain the answers"), min_width=150)
                link_button = gr.Button(tr("Copy link"), min_width=110)
            gr.HTML(note(tr(BUTTONS)))
            address = gr.HTML()
        with gr.Column(scale=2, min_width=320):
            examples = gr.HTML(js_on_load=tables.PICK)
    live_missing.build(lab, tab, page)
    live_file.build(lab, page, chosen)
    answers = gr.HTML()
    gr.HTML(f'<div class="lab-note">{escape(tr(CONFIDENCE))}</div>')
    with gr.Column(visible=False) as panel:
        tally = gr.HTML(tally_html(lab, Session()))
        reset_button, away = confirm.ask_twice(
            tr("Reset the tally"), tr("Begin the tally at zero? It cannot be brought back."), tr("Yes, reset it")
        )
    why = gr.HTML()

    asking = {
        "fn": partial(ask, lab),
        "inputs": [text, chosen, untrained, guessing, guess, session],
        "outputs": [answers, why, guess, tally, session],
        "concurrency_limit": 8,
        **NEWEST,
    }
    gr.on([ask_button.click, text.submit], **asking)
    examples.select(pick, None, text, **NEWEST).then(**asking)
    why_button.click(partial(explain, lab), session, why, concurrency_limit=4, **NEWEST)
    guessing.input(
        partial(toggle, lab), [guessing, chosen, session], [panel, guess, ask_button, answers, why, session], **NEWEST
    )
    reset_button.click(partial(reset, lab), session, [tally, session], **QUIET).then(**away)
    link_button.click(
        make_link, [text, chosen, address], address, js="(text, runs) => [text, runs, location.href]", **QUIET
    ).then(None, None, None, js=COPY, **QUIET)
    chosen.input(partial(suit, lab), chosen, [examples, guess], **QUIET)
    tab.select(partial(offer, lab), [chosen, guess, answers], [chosen, examples, guess, answers], **QUIET)
    page.load(endpoint(arrive, lab), session, [tabs, text, chosen, examples, guess, answers, session], **QUIET).then(
        **{**asking, "fn": partial(ask_linked, lab)}
    )
    gr.api(endpoint(predict_api, lab), api_name="predict")
    return Live(text, asking)


def choices(lab: Lab) -> list[tuple[str, str]]:
    """(name, id) of the runs that can be asked."""
    return [(f"{run_name(run)} ({run.id[-8:]})", run.id) for run in inference.choose(lab.store)]


def offer(lab: Lab, chosen: list[str] | None, guess: str | None, shown: str | None) -> tuple[Any, ...]:
    """(runs, examples, guess, answers) when the tab is opened: the runs of now, nothing else that is on the page."""
    every = choices(lab)
    here = {run_id for _, run_id in every}
    kept = [run_id for run_id in chosen or () if run_id in here]
    runs, _ = resolve(lab, kept)
    labels = labels_of(runs)
    return (
        gr.update(choices=every, value=kept),
        live_examples.html(runs),
        gr.update(choices=labels, value=guess if guess in labels else None),
        empty(lab) if tr(NOBODY) in (shown or "") else gr.skip(),
    )


def suit(lab: Lab, chosen: list[str] | None) -> tuple[str, Any]:
    """The examples and the labels to guess that suit the chosen runs."""
    runs, _ = resolve(lab, chosen)
    return live_examples.html(runs), gr.update(choices=labels_of(runs), value=None)


def pick(event: gr.EventData) -> str:
    """The sentence of the example that was pressed."""
    return str(event.value)[:MAX_CHARACTERS]


def arrive(lab: Lab, session: Session, request: gr.Request) -> tuple[Any, ...]:
    """(tabs, text, runs, examples, guess, answers, session) of a page that opens, as its address asks."""
    link = live_link.parse(str(request.query_params))
    every = choices(lab)
    here = {run_id for _, run_id in every}
    chosen = [run_id for run_id in link.runs if run_id in here] if link else []
    runs, _ = resolve(lab, chosen)
    common = live_examples.html(runs), gr.update(choices=labels_of(runs), value=None)
    if link is None:
        return gr.skip(), gr.skip(), gr.update(choices=every), *common, empty(lab), gr.skip()
    gone = [name for name in link.runs if name not in here]
    notice = vanished(gone, asked="others" if chosen else "every") if gone else ""
    return (
        gr.Tabs(selected=live_link.TAB),
        link.text,
        gr.update(choices=every, value=chosen),
        *common,
        "" if link.text.strip() else empty(lab),
        replace(session, notice=notice, linked=bool(link.text.strip())),
    )


def ask_linked(lab: Lab, *inputs: Any) -> Iterator[tuple[Any, ...]]:
    """Ask what the page's address asked for, once the page has it; nothing on a page that came without."""
    if inputs[-1].linked:
        yield from ask(lab, *inputs)
    else:
        yield (gr.skip(),) * 5


def make_link(text: str | None, chosen: list[str] | None, here: str) -> str:
    """A box with the address that opens this page with the sentence and the runs; `here` is where the page is now."""
    if not (text or "").strip():
        return note(tr("Expected a sentence to link to, got nothing; type one."), "warning")
    address = here.partition("?")[0].partition("#")[0] + live_link.build(text, chosen)
    label = tr("Link to this sentence and these runs (copied, where the browser allows it)")
    return f'<label class="lab-link">{label}<input readonly value="{escape(address)}"></label>'


def predict_api(lab: Lab, text: str, runs: list[str] | None = None) -> list[dict]:
    """Ask trained runs about one text: one object a run, in a fixed order.

    Parameters:
        text: the sentence.
        runs: ids of runs; every finished run if not given.

    Each object has run_id, label, method, predicted, probabilities (by label) and seconds.
    """
    with arguments.sentence_errors(lab):
        chosen = inference.choose(lab.store, None if runs is None else arguments.texts("runs", runs))
        return [answer.__dict__ for answer in lab.predictor.ask(arguments.text("text", text), chosen)]
