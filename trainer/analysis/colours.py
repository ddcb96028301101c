"""A colour and a shape for each method, the same on the page and in reports."""

from __future__ import annotations

import colorsys

from trainer import methods

# Okabe and Ito's palette (2008), distinct with the common kinds of colour blindness.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A800")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_HUES = {
    "low-rank": (0.09, 0.30, 0.48), "vectors": (0.55, 0.30, 0.48), "orthogonal": (0.22, 0.22, 0.36),
    "spectral": (0.76, 0.46, 0.66), "adapters": (0.93, 0.35, 0.55), "quantised": (0.45, 0.25, 0.40),
    "reference": (0.60, 0.45, 0.60), "prompts": (0.83, 0.35, 0.60),
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
