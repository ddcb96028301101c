"""LN tuning: PEFT trains the encoder's layer norms; everything else but the head stays frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from trainer.engine.prepare import Speedups
from trainer.methods.base import UNSWEPT, UNSWEPT_BASE, VECTORS, Options, Setup, refuse_lost
from trainer.methods.peft_method import BOOKKEEPING, PeftMethod, targeted
from trainer.sources import weights
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark

EMBEDDINGS = "embeddings.LayerNorm"


class LnTuningOptions(Options):
    """The options of LN tuning."""

    embeddings: bool = Field(
        True, title=mark("Norm of the embeddings"), description=mark("the layer norm before the first layer trains too")
    )


class LnTuning(PeftMethod):
    """PEFT's LN_TUNING: a trained copy of each layer norm is saved with the head."""

    name = "ln_tuning"
    title = "LN tuning"
    summary = mark("Trains the scales and shifts of the encoder's layer norms, and the head.")
    paper = "Zhao et al. 2023, https://arxiv.org/abs/2312.11420"
    group = VECTORS
    learning_rates = (1e-2, 1e-3)
    learning_rate_sources = (UNSWEPT, UNSWEPT_BASE)
    options = LnTuningOptions
    merges = True
    predicting = ("embeddings",)
    speedups = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)

    def settings(self, setup: Setup) -> dict[str, Any]:
        norms = list(setup.backbone.family.norms) + [EMBEDDINGS] * setup.options.embeddings
        return {"task_type": "SEQ_CLS", "target_modules": norms, "modules_to_save": list(setup.backbone.family.head)}

    def update_tensors(self, shape: Shape, options: LnTuningOptions) -> weights.Shapes:
        return {
            f"base_model.model.{shape.prefix}.{path}.ln_tuning_layers.{kind}": (
                shape.embedding_width if path == EMBEDDINGS else shape.hidden,
            )
            for path in _paths(shape, embeddings=options.embeddings)
            for kind in ("weight", "bias")
        }

    def added_parts(self, shape: Shape, options: LnTuningOptions, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        """The trained copies; the norms themselves stay in the model."""
        one = Part(self.name, 2 * shape.hidden, shape.layers, trains=True)
        inner = (replace(one, beside="attention_output_norm"), replace(one, beside="output_norm"))
        first = Part(self.name, 2 * shape.embedding_width, beside="embeddings", trains=True)
        return (first, *inner) if options.embeddings else inner

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        if config.get("peft_type") != "LN_TUNING":
            return None
        _, settings = self.own_settings(config | {"target_modules": []}, shape)
        targets = config.get("target_modules") or []
        adapted = {path for path in _paths(shape, embeddings=True) if targeted(targets, f"{shape.prefix}.{path}")}
        inner = set(_paths(shape, embeddings=False))
        # PEFT adapts other modules of these names too; a part of the layer norms has no option here.
        settings["target_modules"] = sorted(inner - adapted) or _others(targets, shape)
        refuse_lost(self, settings, plain={"task_type": "SEQ_CLS"}, ignored=BOOKKEEPING)
        return {"embeddings": EMBEDDINGS in adapted}

    def merge(self, model):
        return model.merge_and_unload()


def _paths(shape: Shape, *, embeddings: bool) -> list[str]:
    """The layer norms' paths inside the encoder."""
    family = FAMILIES[shape.family]
    inner = [f"{family.layer_path}.{layer}.{norm}" for layer in range(shape.layers) for norm in family.norms]
    return [EMBEDDINGS] * embeddings + inner


def _others(targets: Any, shape: Shape) -> list[str]:
    """The targets that are no layer norm of the encoder."""
    paths = [f"{shape.prefix}.{path}" for path in _paths(shape, embeddings=True)]
    names = [targets] if isinstance(targets, str) else targets
    return [name for name in names if not any(targeted([name], path) for path in paths)]


METHOD = LnTuning()
