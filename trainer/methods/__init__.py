"""The registry of methods, in the order on the page.

A new one of PEFT is an entry in `peft_entries`; any other is a file in this package and a line here.
"""

from __future__ import annotations

from trainer.errors import one_of
from trainer.methods import adapter, adapter_fusion, full, ln_tuning, lora, partial, peft_family, prompts, qlora
from trainer.methods.base import GROUPS, PROMPTS, Method, Options, Parent, ParentWeights, Setup
from trainer.texts import mark

_DEFAULT = (full.METHOD, lora.METHOD, qlora.METHOD, adapter.METHOD, adapter_fusion.METHOD)
_OTHERS = (partial.HEAD_ONLY, partial.BITFIT, ln_tuning.METHOD, lora.ALL)
METHODS: dict[str, Method] = {
    method.name: method for method in (*_DEFAULT, *_OTHERS, *peft_family.METHODS, *prompts.METHODS)
}
DEFAULT: tuple[str, ...] = tuple(method.name for method in _DEFAULT)
"""The methods of a suite that names none, and of the presets, the lesson and the example runs."""

_CAUSAL, _TASKS = mark("needs a causal language model"), mark("trains on several tasks at once")
_RANDOM = mark("not yet: its tensors are drawn or indexed when it is built, and a file of them is not checked here")
ABSENT = {
    "ADAPTION_PROMPT": _CAUSAL,
    "CPT": _CAUSAL,
    "SHADOW": _CAUSAL,
    "MULTITASK_PROMPT_TUNING": _TASKS,
    "POLY": _TASKS,
    "XLORA": mark("mixes LoRAs that are trained already"),
    "TRAINABLE_TOKENS": mark("trains single embeddings, for tokens that were added"),
    "ADAMSS": mark("the shapes of its tensors come from the weights, so a file of them cannot be checked"),
    "FROD": mark("saves a decomposition of the weights, whose shapes come from them"),
    "ADALORA": mark("not yet: ranks change in training, by a call at each step"),
    "PVERA": mark("not yet: it draws at random in training beside dropout"),
    "LILY": mark("not yet: layers share matrices, which are saved once for each of them"),
    "CARTRIDGE": mark("not yet: starts from the keys and values of a text"),
    "PSOFT": mark("the example of the contributors' guide"),
    **dict.fromkeys(("RANDLORA", "SHIRA", "SUPERTUNING", "TINYLORA", "OSF"), _RANDOM),
}
"""PEFT's types that are no method here, each with the reason."""

__all__ = [
    "ABSENT",
    "DEFAULT",
    "GROUPS",
    "METHODS",
    "PROMPTS",
    "Method",
    "Options",
    "Parent",
    "ParentWeights",
    "Setup",
    "get",
]


def get(name: str) -> Method:
    """A method by name. Raises `ArgumentError` for an unknown one."""
    if name not in METHODS:
        raise one_of(mark("a method"), name, tuple(METHODS))
    return METHODS[name]
