"""The page's theme: fonts of the reader's own system."""

from __future__ import annotations

import gradio as gr

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
