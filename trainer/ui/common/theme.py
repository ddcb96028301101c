"""The page's theme: fonts of the reader's own system, a colour and a shape for each method."""

from __future__ import annotations

import colorsys

import gradio as gr

from trainer import methods

# Okabe and Ito's palette, distinct with the common kinds of colour blindness; repeated if there are more methods.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A800")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_HUES = {
    "low-rank": (0.09, 0.30, 0.48), "vectors": (0.55, 0.30, 0.48), "orthogonal": (0.22, 0.22, 0.36),
    "spectral": (0.76, 0.46, 0.66), "adapters": (0.93, 0.35, 0.55), "quantised": (0.45, 0.25, 0.40),
}  # fmt: skip
"""The hue that a group's methods share beside the default ones, which have the palette's colours, and its lightness
from the first to the last of them: all are seen on white and on black."""


def _colours() -> dict[str, str]:
    colours = dict(zip(methods.DEFAULT, _COLOURS, strict=False))
    for group, (hue, dark, light) in _HUES.items():
        names = [name for name, method in methods.METHODS.items() if method.group == group and name not in colours]
        for index, name in enumerate(names):
            lightness = dark + (light - dark) * index / max(len(names) - 1, 1)
            parts = colorsys.hls_to_rgb(hue, lightness, 0.75)
            colours[name] = "#" + "".join(f"{round(255 * part):02X}" for part in parts)
    return colours


COLOURS = _colours()
SHAPES = {name: _SHAPES[i % len(_SHAPES)] for i, name in enumerate(methods.METHODS)}

# Names of installed fonts, not of a font service: the page must work without a network.
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


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
        # Links are on panels too, where the default blue has a contrast below 4.5:1.
        link_text_color="*secondary_700",
        link_text_color_dark="*secondary_300",
        button_large_text_size="*text_md",
        # White on the default orange has a contrast of 2.8:1.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )
