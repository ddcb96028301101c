"""The registry of methods, in the order on the page. A new one is a file in this package and a line here."""

from __future__ import annotations

from trainer.errors import one_of
from trainer.methods import adapter, adapter_fusion, full, lora, qlora
from trainer.methods.base import Method, Options, Parent, ParentWeights, Setup
from trainer.texts import mark

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        full.METHOD,
        lora.METHOD,
        qlora.METHOD,
        adapter.METHOD,
        adapter_fusion.METHOD,
    )
}

__all__ = ["METHODS", "Method", "Options", "Parent", "ParentWeights", "Setup", "get"]


def get(name: str) -> Method:
    """A method by name. Raises `ArgumentError` for an unknown one."""
    if name not in METHODS:
        raise one_of(mark("a method"), name, tuple(METHODS))
    return METHODS[name]
