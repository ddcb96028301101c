"""The registry of methods, in the order on the page.

A new one of PEFT is an entry in `peft_family`; any other is a file in this package and a line here.
"""

from __future__ import annotations

from trainer.errors import one_of
from trainer.methods import adapter, adapter_fusion, full, lora, peft_family, qlora
from trainer.methods.base import GROUPS, Method, Options, Parent, ParentWeights, Setup
from trainer.texts import mark

_DEFAULT = (full.METHOD, lora.METHOD, qlora.METHOD, adapter.METHOD, adapter_fusion.METHOD)
METHODS: dict[str, Method] = {method.name: method for method in (*_DEFAULT, *peft_family.METHODS)}
DEFAULT: tuple[str, ...] = tuple(method.name for method in _DEFAULT)
"""The methods of a suite that names none, and of the presets, the lesson and the example runs."""

__all__ = ["DEFAULT", "GROUPS", "METHODS", "Method", "Options", "Parent", "ParentWeights", "Setup", "get"]


def get(name: str) -> Method:
    """A method by name. Raises `ArgumentError` for an unknown one."""
    if name not in METHODS:
        raise one_of(mark("a method"), name, tuple(METHODS))
    return METHODS[name]
