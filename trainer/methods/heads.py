"""AdapterHub's classification head: a strict model of head_config.json, its tensors, and the file written again."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from trainer.errors import UserError
from trainer.sources import configs, weights
from trainer.sources import tensors as encoder_tensors
from trainer.sources.backbones import FAMILIES, Shape
from trainer.sources.configs import Foreign, Name
from trainer.texts import tr

if TYPE_CHECKING:
    from trainer.methods.base import Setup

CLASSES = {
    "bert": "BertAdapterModel",
    "roberta": "RobertaAdapterModel",
    "xlm-roberta": "XLMRobertaAdapterModel",
    "electra": "ElectraAdapterModel",
    "distilbert": "DistilBertAdapterModel",
}
"""AdapterHub's models by the encoder's type."""
STATIC = "ForSequenceClassification"
"""End of the classes of transformers, whose head AdapterHub saves too."""


Activation = Literal["tanh", "relu", "gelu", "gelu_new", "swish", "silu", "leakyrelu", "sigmoid"]


class Head(Foreign):
    """A classification head. `static`: its tensors have transformers' names; then it is transformers' own head."""

    head_type: Literal["classification", "multilabel_classification"]
    num_labels: int = Field(ge=2, le=10_000)
    layers: int = Field(ge=1, le=4)
    activation_function: Activation | None = None
    use_pooler: bool = False
    bias: bool = True
    dropout_prob: Annotated[float, Field(ge=0, lt=1)] | None = None
    label2id: dict[Name, int] | None = None
    static: bool = False

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The labels in the head's order; None where they are not recorded or are no order."""
        named = sorted((self.label2id or {}).items(), key=lambda pair: pair[1])
        in_order = [index for _, index in named] == list(range(self.num_labels))
        return tuple(name for name, _ in named) if in_order else None

    def names(self, name: str, shape: Shape) -> weights.Shapes:
        """The head's tensors as its file names them, in the order of `tensors`."""
        return encoder_tensors.head(shape, self.num_labels) if self.static else tensors(self, name, shape)


def read(folder: Path, shape: Shape, *, multi_label: bool = False) -> Head:
    """The head that is saved beside an adapter. Raises `UserError` for none, or one of another kind."""
    kind = "multilabel_classification" if multi_label else "classification"
    path, family = folder / "head_config.json", FAMILIES[shape.family]
    if not path.is_file():
        raise _no_head(folder)
    content = configs.read_object(path)
    inner, model = content.get("config"), str(content.get("model_class"))
    if not isinstance(inner, dict) and model.endswith(STATIC):
        inner = {name: content[name] for name in ("num_labels", "label2id") if name in content} | {
            "head_type": "classification",
            "layers": family.head_layers,
            "activation_function": family.head_activation,
            "use_pooler": family.uses_pooler,
            "static": True,
        }
    elif not isinstance(inner, dict) or inner.get("head_type") != kind:
        raise _no_head(folder)
    elif "static" in inner:
        raise configs.unknown(path.name, "static", inner["static"])
    try:
        head = Head(**inner)
    except ValidationError as error:
        raise configs.refused("head_config.json", error) from None
    if head.use_pooler and not family.uses_pooler:
        raise configs.unknown(path.name, "use_pooler", True)
    return head


def rebuilt(head: Head, name: str, setup: Setup) -> dict[str, Any]:
    """The content of head_config.json of a saved run. Raises `UserError` unless its labels are the run's."""
    if head.label_names != setup.label_names or head.static:
        raise UserError(
            expected=tr("{name} in {file}", name=", ".join(setup.label_names)[:200], file="head_config.json"),
            got=configs.shown(head.label2id),
            fix=tr("export it again"),
        )
    return config_of(head, name, setup)


def config_of(head: Head, name: str, setup: Setup) -> dict[str, Any]:
    """The content of head_config.json for a head over the task's labels."""
    inner = head.model_dump(exclude={"static"}) | {"label2id": {label: i for i, label in setup.id2label.items()}}
    return {"config": inner, "name": name} | origin(setup)


def origin(setup: Setup) -> dict[str, Any]:
    """What AdapterHub's configurations say of the model."""
    shape = setup.backbone.shape
    return {
        "hidden_size": shape.hidden,
        "model_class": CLASSES[shape.family],
        "model_name": setup.backbone.hub_id,
        "model_type": shape.family,
        "version": f"adapters.{metadata.version('adapters')}",
    }


def tensors(head: Head, name: str, shape: Shape) -> weights.Shapes:
    """The head's tensors as AdapterHub names them: dropout, linear layer and activation follow one another."""
    shapes: weights.Shapes = {}
    step = 3 if head.activation_function else 2
    for layer in range(head.layers):
        last = layer == head.layers - 1
        outputs = head.num_labels if last else shape.hidden
        shapes[f"heads.{name}.{1 + step * layer}.weight"] = (outputs, shape.hidden)
        if head.bias or not last:
            shapes[f"heads.{name}.{1 + step * layer}.bias"] = (outputs,)
    return shapes


def _no_head(folder: Path) -> UserError:
    return UserError(
        expected=tr("an adapter saved with its classification head"),
        got=tr("{name} without one", name=folder.name),
        fix=tr("save it again with with_head=True, or train it here"),
    )
