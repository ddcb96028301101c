"""Names and shapes of the tensors of an encoder and its classification head, as transformers saves them.

From the sizes alone, without torch: a file is refused before anything is built. Tests compare them with models that
the libraries build.
"""

from __future__ import annotations

from trainer.sources.shapes import FAMILIES, Shape

Shapes = dict[str, tuple[int, ...]]
_OF_OTHER_HEADS = ("cls.", "lm_head.", "vocab_", "qa_outputs.", "classifier.", "pre_classifier.", "score.", "dropout.")
_OF_OTHER_HEADS += ("discriminator_predictions.",)
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def encoder(shape: Shape) -> Shapes:
    """The tensors of the encoder alone, by their names without a prefix."""
    family, wide, first = FAMILIES[shape.family], (shape.hidden,), shape.embedding_width
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (shape.vocabulary, first),
        "embeddings.position_embeddings.weight": (shape.positions, first),
    }
    if shape.token_types:
        shapes["embeddings.token_type_embeddings.weight"] = (shape.token_types, first)
    shapes |= {"embeddings.LayerNorm.weight": (first,), "embeddings.LayerNorm.bias": (first,)}
    if shape.embedding:
        shapes |= _linear("embeddings_project", first, shape.hidden)
    for layer in range(shape.layers):
        path = f"{family.layer_path}.{layer}"
        for name, linear in family.linears.items():
            shapes |= _linear(f"{path}.{linear}", *shape.linear(name))
        for norm in family.norms:
            shapes |= {f"{path}.{norm}.weight": wide, f"{path}.{norm}.bias": wide}
    if family.uses_pooler:
        shapes |= _linear("pooler.dense", shape.hidden, shape.hidden)
    return shapes


def head(shape: Shape, labels: int) -> Shapes:
    """The tensors of transformers' own classification head."""
    family = FAMILIES[shape.family]
    *inner, last = family.head_linears
    shapes: Shapes = {}
    for name in inner:
        shapes |= _linear(name, shape.hidden, shape.hidden)
    return shapes | _linear(last, shape.hidden, labels)


def classifier(shape: Shape, labels: int) -> Shapes:
    """The tensors of transformers' sequence classifier."""
    inner = {f"{shape.prefix}.{name}": size for name, size in encoder(shape).items()}
    return inner | head(shape, labels)


def may_be_beside(name: str) -> bool:
    """Whether a tensor may be in an encoder's file that is no part of the encoder: of a head, or a buffer."""
    return name.startswith((*_OF_OTHER_HEADS, "pooler.")) or name.endswith(_BUFFERS)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
