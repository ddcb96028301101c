"""Names and shapes of the tensors of an encoder and its classification head, as transformers saves them.

From the sizes alone, without torch: a file is refused before anything is built. Tests compare them with models that
the libraries build.
"""

from __future__ import annotations

from trainer.sources.shapes import FAMILIES, Shape

Shapes = dict[str, tuple[int, ...]]
_OF_OTHER_HEADS = ("cls.", "lm_head.", "vocab_", "qa_outputs.", "classifier.", "pre_classifier.", "score.", "dropout.")
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def encoder(shape: Shape) -> Shapes:
    """The tensors of the encoder alone, by their names without a prefix."""
    family, wide = FAMILIES[shape.family], (shape.hidden,)
    found: Shapes = {
        "embeddings.word_embeddings.weight": (shape.vocabulary, shape.hidden),
        "embeddings.position_embeddings.weight": (shape.positions, shape.hidden),
    }
    if shape.token_types:
        found["embeddings.token_type_embeddings.weight"] = (shape.token_types, shape.hidden)
    found |= {"embeddings.LayerNorm.weight": wide, "embeddings.LayerNorm.bias": wide}
    for layer in range(shape.layers):
        path = f"{family.layer_path}.{layer}"
        for name, linear in family.linears.items():
            found |= _linear(f"{path}.{linear}", *shape.linear(name))
        for norm in family.norms:
            found |= {f"{path}.{norm}.weight": wide, f"{path}.{norm}.bias": wide}
    if family.uses_pooler:
        found |= _linear("pooler.dense", shape.hidden, shape.hidden)
    return found


def head(shape: Shape, labels: int) -> Shapes:
    """The tensors of transformers' own classification head."""
    family = FAMILIES[shape.family]
    *inner, last = family.head_linears
    found: Shapes = {}
    for name in inner:
        found |= _linear(name, shape.hidden, shape.hidden)
    return found | _linear(last, shape.hidden, labels)


def classifier(shape: Shape, labels: int) -> Shapes:
    """The tensors of transformers' sequence classifier."""
    inner = {f"{shape.family}.{name}": size for name, size in encoder(shape).items()}
    return inner | head(shape, labels)


def may_be_beside(name: str) -> bool:
    """Whether a tensor may be in an encoder's file that is no part of the encoder: of a head, or a buffer."""
    return name.startswith((*_OF_OTHER_HEADS, "pooler.")) or name.endswith(_BUFFERS)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
