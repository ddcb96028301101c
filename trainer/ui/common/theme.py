"""One look for every page: fonts of the reader's own system, a colour and a shape per method."""

from __future__ import annotations

import gradio as gr

from trainer import methods

# Okabe and Ito's palette, told apart with the common kinds of colour blindness; repeated should methods outnumber it.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A800")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
COLOURS = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(methods.METHODS)}
SHAPES = {name: _SHAPES[i % len(_SHAPES)] for i, name in enumerate(methods.METHODS)}

# Names of installed fonts, not of a font service: the page must look right with no network.
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

CSS = """
.gradio-container { width: 100% !important; max-width: 1400px !important; margin: 0 auto !important; font-size: 16px; }
.gradio-container .html-container { padding: 0 !important; }
/* Letters with marks above or below need more than Gradio's fields leave, which cut them off. */
html:not([lang="en"]) .gradio-container :is(input, textarea) { line-height: 1.75 !important; }
html:not([lang="en"]) .gradio-container input[role="listbox"] { min-height: 28px; }
.lab-inset .lab-table tbody th { font-weight: 400; }
.lab-inset { background: var(--block-background-fill) !important; }
.gradio-container .lab-inset .html-container { padding: 8px 12px !important; }
.tab-container button.selected { color: var(--primary-700) !important; }
.dark .tab-container button.selected { color: var(--primary-300) !important; }
.lab-note { font-size: 16px; line-height: 1.5; }
.lab-queue { display: grid; gap: 10px; }
.lab-run { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 10px 12px;
  background: var(--background-fill-primary); }
.lab-run-head { display: flex; flex-wrap: wrap; gap: 4px 12px; justify-content: space-between; font-size: 16px; }
.lab-run-name { all: unset; font-weight: 600; overflow-wrap: anywhere; cursor: pointer; }
.lab-run-name:hover { text-decoration: underline; }
.lab-run-name:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.lab-run-text { font-size: 16px; color: var(--body-text-color); overflow-wrap: anywhere; }
.lab-run progress { width: 100%; height: 10px; margin: 6px 0 2px; accent-color: var(--color-accent); }
.lab-small { font-size: 16px; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.lab-state { font-weight: 600; }
.lab-failed::before { content: "✕ "; } .lab-finished::before { content: "✓ "; } .lab-running::before { content: "▶ "; }
.lab-details { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 2px 14px; margin: 6px 0;
  font-size: 16px; }
.lab-details dt { color: var(--body-text-color-subdued); } .lab-details dd { margin: 0; overflow-wrap: anywhere; }
.lab-command { font-family: var(--font-mono); font-size: 16px; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 4px 0; padding: 8px 12px; border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: var(--background-fill-primary); }
.lab-log textarea { font-family: var(--font-mono); font-size: 14px; }
.lab-answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 12px; }
/* Longhands: Gradio rewrites style sheets and loses one of two border shorthands that hold variables. */
.lab-answer { border-style: solid !important; border-width: 1px 1px 1px 6px !important;
  border-top-color: var(--border-color-primary) !important; border-right-color: var(--border-color-primary) !important;
  border-bottom-color: var(--border-color-primary) !important; border-left-color: var(--lab-colour) !important;
  border-radius: 8px; padding: 12px; background: var(--background-fill-primary); font-size: 16px; }
.lab-answer h3 { margin: 0 0 2px; font-size: 17px; }
.lab-answer .lab-label { font-size: 20px; font-weight: 700; margin: 4px 0 8px; overflow-wrap: anywhere; }
.lab-answer .lab-small { color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.lab-bar { display: grid; grid-template-columns: minmax(72px, 30%) 1fr 4.2em; gap: 8px; align-items: center; }
.lab-bar span:first-child { overflow-wrap: anywhere; }
.lab-bar span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.lab-track { background: var(--border-color-primary); border-radius: 4px; height: 12px; overflow: hidden; }
.lab-fill { background: var(--lab-colour); height: 100%; }
.lab-empty { padding: 20px; text-align: center; font-size: 16px; }
.lab-warning { border-left: 4px solid #E69F00; padding: 4px 10px; font-size: 16px; }
.altair.layout > div, .vega-embed { width: 100%; }
.vega-embed svg text { fill: var(--body-text-color) !important; }
.vega-embed svg .role-axis line, .vega-embed svg .role-axis path { stroke: var(--border-color-primary) !important; }
.lab-chart { min-height: 240px; overflow: visible !important; }
.lab-chart-tall { min-height: 480px; }
.vega-embed svg.marks { background: transparent !important; overflow: visible; }
.vega-embed .mark-rule.role-mark line, .vega-embed .mark-symbol path[fill="black"] {
  stroke: var(--body-text-color) !important; }
.dark .vega-embed .mark-symbol path[fill="black"] { fill: var(--body-text-color) !important; }
.vega-embed details summary { opacity: 1 !important; background: var(--button-secondary-background-fill) !important;
  color: var(--body-text-color) !important; border: 1px solid var(--border-color-primary) !important;
  box-shadow: none !important; padding: 6px !important; line-height: 0; }
.vega-embed details summary:focus-visible, .vega-actions a:focus-visible { outline: 2px solid var(--color-accent);
  outline-offset: 2px; }
.vega-embed .vega-actions { background: var(--background-fill-primary) !important;
  border: 1px solid var(--border-color-primary) !important; }
.vega-embed .vega-actions a { color: var(--body-text-color) !important; font-size: 16px !important; }
.vega-embed .vega-actions a:hover { background: var(--background-fill-secondary) !important; }
.lab-table { overflow-x: auto; }
.lab-table table, .lab-table th, .lab-table td, .lab-table tr { border: 0 !important; }
.lab-table table { border-collapse: collapse; font-size: 16px; width: 100%; }
.lab-table th, .lab-table td { padding: 6px 10px; border-bottom: 1px solid var(--border-color-primary) !important;
  white-space: nowrap; text-align: right; }
.lab-table th:first-child, .lab-table td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--background-fill-primary); }
.lab-table th { white-space: normal; vertical-align: bottom; min-width: 5em; }
.lab-table .lab-best { font-weight: 700; }
.lab-table .lab-words { text-align: left; white-space: normal; }
.lab-table [data-sort] { all: unset; cursor: pointer; }
.lab-table [data-sort]:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.lab-table [data-sort]::after { content: " ↕"; opacity: 0.5; }
.lab-table th[aria-sort="ascending"] [data-sort]::after { content: " ▲"; opacity: 1; }
.lab-table th[aria-sort="descending"] [data-sort]::after { content: " ▼"; opacity: 1; }
.lab-button, .lab-pick { font: inherit; font-size: 16px; cursor: pointer; color: var(--body-text-color);
  background: var(--button-secondary-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 6px; padding: 4px 12px; margin: 8px 0; text-align: left; }
.lab-pick { margin: 0; width: 100%; }
.lab-button:hover, .lab-pick:hover { border-color: var(--color-accent); }
.lab-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""


def theme() -> gr.themes.Base:
    """Gradio's default theme with the reader's own fonts, larger text, and help lines dark enough to read."""
    base = gr.themes.Default(font=_FONT, font_mono=_MONO, text_size=gr.themes.sizes.text_lg)
    return base.set(
        block_info_text_size="16px",
        block_label_text_size="16px",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        # Links stand on panels too, where the default blue has less than 4.5:1.
        link_text_color="*secondary_700",
        link_text_color_dark="*secondary_300",
        button_large_text_size="*text_md",
        # White on the default orange has a contrast of 2.8:1.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )
