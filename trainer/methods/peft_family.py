"""PEFT's other weight-based methods: what an entry of `peft_entries` does not say, all of them share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field, create_model

from trainer.errors import ArgumentError
from trainer.methods.base import Options, Setup, common_linears, refuse_lost
from trainer.methods.peft_entries import ENTRIES, Entry, Tensors
from trainer.methods.peft_method import (
    BOOKKEEPING,
    PeftMethod,
    Target,
    adapted_linears,
    adapted_paths,
    target_pattern,
)
from trainer.sources import weights
from trainer.sources.backbones import Part, Shape
from trainer.sources.configs import is_off
from trainer.texts import mark, tr

STARTS = ("init_weights", "init_ia3_weights", "init_lora_weights", "init_vector_bank_bound", "init_logits_std")
"""PEFT's settings of the values at the start, which a trained adapter no longer needs."""


class PeftFamily(PeftMethod):
    """The method of an entry."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.name, self.title, self.summary, self.paper = entry.name, entry.title, entry.summary, entry.paper
        self.group, self.speedups, self.merges = entry.group, entry.speedups, entry.merges
        self.learning_rates, self.learning_rate_sources = entry.learning_rates, entry.learning_rate_sources
        targets = Field(
            entry.targets,
            min_length=1,
            title=mark("Target modules"),
            description=mark("linear layers of the encoder that get an update"),
        )
        own = entry.options | {"target_modules": (tuple[Target, ...], targets)}
        self.options = create_model(f"{entry.peft_type}Options", __base__=Options, __doc__=entry.summary, **own)
        # What acts in training alone is not compared with a saved configuration.
        self.predicting = tuple(name for name in own if "dropout" not in name)

    @property
    def peft_type(self) -> str:
        return self.entry.peft_type

    def check_options(self, shape: Shape, options: Any) -> None:
        super().check_options(shape, options)
        linears, named = common_linears(shape, options.target_modules), self.entry.divides
        if named:
            rank = [options.r] if self.entry.rank else []
            sizes = sorted({size for i, o in linears for size in ((i, o) if self.entry.both else (o,))} | set(rank))
            if any(size % getattr(options, named) for size in sizes):
                raise ArgumentError(
                    expected=tr("a divisor of {numbers} as {option}", option=named, numbers=", ".join(map(str, sizes))),
                    got=str(getattr(options, named)),
                    fix=tr("choose another, such as {number}", number=math.gcd(*sizes)),
                )
        if self.entry.most:
            named, largest = self.entry.most
            most = min(largest(*sizes) for sizes in linears)
            if getattr(options, named) > most:
                raise ArgumentError(
                    expected=tr("at most {number} as {option} of this encoder", option=named, number=f"{most:,}"),
                    got=f"{getattr(options, named):,}",
                    fix=tr("choose a smaller one"),
                )

    def settings(self, setup: Setup) -> dict[str, Any]:
        options, family = setup.options, setup.backbone.family
        own = {name: getattr(options, name) for name in self.entry.options}
        targets = target_pattern(family, options.target_modules)
        if scaled := [name for name in self.entry.scaled_inputs if name in options.target_modules]:
            own["feedforward_modules"] = target_pattern(family, scaled)
        return {"task_type": "SEQ_CLS", **own, "target_modules": targets, "modules_to_save": list(family.head)}

    def build(self, setup: Setup):
        self.check_options(setup.backbone.shape, setup.options)
        return super().build(setup)

    def update_tensors(self, shape: Shape, options: Any) -> weights.Shapes:
        added = {
            f"{path}.{suffix}": size
            for path, name in adapted_paths(shape, options.target_modules)
            for suffix, size in self._beside(shape, name, options).items()
        }
        return added | {f"base_model.{name}": size for name, size in self._shared(shape, options).items()}

    def _beside(self, shape: Shape, name: str, options: Any) -> Tensors:
        inputs, outputs = shape.linear(name)
        if name not in self.entry.scaled_inputs:
            return self.entry.tensors(inputs, outputs, options)
        return {suffix: size[::-1] for suffix, size in self.entry.tensors(outputs, inputs, options).items()}

    def _shared(self, shape: Shape, options: Any) -> Tensors:
        linears = common_linears(shape, options.target_modules)
        return self.entry.shared(max(i for i, _ in linears), max(o for _, o in linears), options)

    def _counts(self, saved: Tensors) -> tuple[int, int]:
        """(trained, frozen) parameters of some tensors."""
        sizes = {name: math.prod(size) for name, size in saved.items()}
        frozen = sum(size for name, size in sizes.items() if name.startswith(self.entry.frozen))
        return sum(sizes.values()) - frozen, frozen

    def added_parts(self, shape: Shape, options: Any, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        parts = []
        for name in options.target_modules:
            counts = self._counts(self._beside(shape, name, options))
            parts += [Part(self.name, count, shape.layers, name, trains=not i) for i, count in enumerate(counts)]
        counts = self._counts(self._shared(shape, options))
        parts += [Part(f"{self.name}_shared", count, trains=not i) for i, count in enumerate(counts)]
        return tuple(part for part in parts if part.count)

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        if config.get("peft_type") != self.entry.peft_type:
            return None
        adapted, settings = self.own_settings(config, shape)
        defaults = _defaults(self.entry.peft_type)
        if self.entry.scaled_inputs:
            scaled, beside = adapted_linears(config.get("feedforward_modules") or [], shape)
            # What remains are layers that are scaled elsewhere than here.
            own_scaled = set(self.entry.scaled_inputs) & set(adapted)
            settings["feedforward_modules"] = beside or sorted(own_scaled ^ set(scaled))
        ignored = BOOKKEEPING | set(self.entry.options) | {"fan_in_fan_out", "layers_pattern"}
        # A name of another way to start may stand for another update, as in MiSS.
        ignored |= {name for name in STARTS if not isinstance(config.get(name), str)}
        ignored |= {name for name in settings if "dropout" in name}  # of training alone
        plain = {name: value for name, value in defaults.items() if not is_off(value)} | {"task_type": "SEQ_CLS"}
        refuse_lost(self, settings, plain=plain, ignored=ignored)
        own = {name: config.get(name, defaults.get(name)) for name in self.entry.options}
        return own | {"target_modules": adapted}

    def merge(self, model):
        return model.merge_and_unload() if self.merges else None


def _defaults(peft_type: str) -> dict[str, Any]:
    """PEFT's own defaults of a type's settings."""
    import dataclasses

    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    missing = dataclasses.MISSING
    return {
        one.name: one.default_factory() if one.default_factory is not missing else one.default
        for one in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[peft_type])
        if one.default is not missing or one.default_factory is not missing
    }


METHODS: tuple[PeftFamily, ...] = tuple(map(PeftFamily, ENTRIES))
