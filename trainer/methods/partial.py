"""Methods that train some of the plain classifier's own parameters: its head alone (a linear probe), its biases.

transformers saves the whole model, as after full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainer.engine.prepare import Speedups
from trainer.methods.base import REFERENCE, UNSWEPT, UNSWEPT_BASE, VECTORS, Setup
from trainer.methods.full import Full
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark

FROZEN_WHOLE = Speedups(packing=True, first_token=True, prepacked=True, dropout_stock=True)
"""Speed-ups of a model whose frozen weights are saved with it: none may round or leave out any of them."""


class Partial(Full):
    """A method that trains the head and what `trains` says of the encoder's parameters."""

    trains_backbone = False
    learning_rate_sources = (UNSWEPT, UNSWEPT_BASE)

    def trains(self, name: str) -> bool:
        """Whether a parameter of the encoder is trained, by its name."""
        return False

    def build(self, setup: Setup):
        model = super().build(setup)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name.startswith(setup.backbone.family.head) or self.trains(name)
        return model

    def trainable_parameters(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> int:
        return sum(part.total for part in self.parts(shape, options, labels, parents=parents) if part.trains)


class HeadOnly(Partial):
    """The frozen encoder with a trained head: what the pretrained sentence vectors alone can tell apart."""

    name = "head_only"
    peft_type = "HEAD_ONLY"
    title = mark("Head only (linear probe)")
    summary = mark("Trains the classification head alone, on the frozen encoder: the floor of every comparison.")
    paper = "Alain and Bengio 2016, linear probes, https://arxiv.org/abs/1610.01644"
    group = REFERENCE
    learning_rates = (1e-2, 5e-3)
    speedups = FROZEN_WHOLE


class BitFit(Partial):
    """BitFit: the biases of all linear layers and layer norms, and the head."""

    name = "bitfit"
    peft_type = "BITFIT"
    title = "BitFit"
    summary = mark("Trains the biases of the encoder and the head; all weights stay frozen.")
    paper = "Ben Zaken et al. 2022, BitFit, https://arxiv.org/abs/2106.10199"
    group = VECTORS
    learning_rates = (3e-3, 1e-3)
    speedups = FROZEN_WHOLE

    def trains(self, name: str) -> bool:
        return name.endswith(".bias")

    def parts(self, shape: Shape, options: Any, labels: int, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        biases, parts = _biases(shape), []
        for part in super().parts(shape, options, labels, parents=parents):
            if part.name in biases:
                parts.append(replace(part, count=part.count - biases[part.name]))
                part = Part("bias", biases[part.name], part.layers, beside=part.name, trains=True)
            parts.append(part)
        return tuple(parts)


def _biases(shape: Shape) -> dict[str, int]:
    """The biases in one copy of each part of the encoder, layer norms' included."""
    counts = {
        "embeddings": shape.embedding_width + (shape.hidden if shape.embedding else 0),
        "attention_output_norm": shape.hidden,
        "output_norm": shape.hidden,
    }
    counts |= {name: shape.linear(name)[1] for name in FAMILIES[shape.family].linears}
    return counts | ({"pooler": shape.hidden} if FAMILIES[shape.family].uses_pooler else {})


HEAD_ONLY, BITFIT = HeadOnly(), BitFit()
