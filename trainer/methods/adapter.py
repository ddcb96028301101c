"""A single bottleneck adapter in each layer; the backbone stays frozen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trainer.config import check as config_check
from trainer.engine.prepare import Speedups
from trainer.errors import ArgumentError, UserError
from trainer.methods import foreign, heads
from trainer.methods.base import ADAPTERS, TUNED, Method, Options, RateSource, Setup, label_rows, refuse_lost
from trainer.sources import configs, weights
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark, tr

NAME = "adapter"
FILES = ("adapter.safetensors", "pytorch_adapter.bin")
HEAD_FILES = ("model_head.safetensors", "pytorch_model_head.bin")


PLAIN = {
    "output_adapter": True,
    "original_ln_after": True,
    "residual_before_ln": True,
    "scaling": 1.0,
}
"""The values in AdapterHub's SeqBnConfig and DoubleSeqBnConfig that are not off; others mean another adapter."""
PLACEMENTS = {
    "pfeiffer": {"non_linearity": "relu", "original_ln_before": True},
    "houlsby": {"non_linearity": "swish", "original_ln_before": False},
}
IGNORED = {
    *("mh_adapter", "reduction_factor"),
    # Of training alone.
    *("init_weights", "init_weights_seed", "dropout", "stochastic_depth"),
    # Of phm_layer and inv_adapter, which are off.
    *("phm_dim", "factorized_phm_W", "shared_W_phm", "shared_phm_rule", "factorized_phm_rule", "phm_c_init"),
    *("phm_init_range", "learn_phm", "hypercomplex_nonlinearity", "phm_rank", "phm_bias"),
    "inv_adapter_reduction_factor",
}


class AdapterOptions(Options):
    """The bottleneck's size and its position in a layer."""

    reduction_factor: int = Field(
        16, ge=1, le=256, title=mark("Reduction factor"), description=mark("hidden size over the bottleneck's size")
    )
    placement: Literal["pfeiffer", "houlsby"] = Field(
        "pfeiffer",
        title=mark("Placement"),
        description=mark("pfeiffer: after the feed-forward block; houlsby: after attention too"),
    )


class Adapter(Method):
    """AdapterHub's sequential bottleneck: Houlsby et al. 2019 (two a layer) or Pfeiffer et al. 2021 (one)."""

    name = "adapter"
    title = mark("Adapter")
    summary = mark("Freezes the backbone and trains a small bottleneck in each layer.")
    paper = (
        "Houlsby et al. 2019, https://arxiv.org/abs/1902.00751; Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247"
    )
    group = ADAPTERS
    library = "adapters"
    learning_rates = (5e-3, 1e-4)
    learning_rate_sources = (TUNED, RateSource("published", "Pfeiffer et al. 2021, section 4.1: BERT base"))
    options = AdapterOptions
    speedups = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)

    def build(self, setup: Setup):
        from adapters import DoubleSeqBnConfig, SeqBnConfig

        model = load_adapter_model(setup)
        kind = SeqBnConfig if setup.options.placement == "pfeiffer" else DoubleSeqBnConfig
        model.add_adapter(NAME, config=kind(reduction_factor=setup.options.reduction_factor))
        add_head(model, NAME, setup)
        model.train_adapter(NAME)
        return model.to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        model.save_adapter(str(folder), NAME, with_head=True, use_safetensors=True)

    def open(self, folder: Path, setup: Setup):
        model = load_adapter_model(setup)
        model.load_adapter(str(folder), load_as=NAME, with_head=True, set_active=True, use_safetensors=True)
        return model.to(setup.device.kind).eval()

    def loading(self, *, base: str, labels: int, options: Any, head: tuple[str, ...]) -> str:
        return (
            "from adapters import AutoAdapterModel\n\n"
            f"model = AutoAdapterModel.from_pretrained({base})\n"
            "model.load_adapter(folder, set_active=True, use_safetensors=True)"
        )

    def trainable_parameters(
        self, shape: Shape, options: AdapterOptions, labels: int, *, parents: Sequence[Any] = ()
    ) -> int:
        return adapter_parameters(shape, options) + shape.head_parameters(labels)

    def added_parts(self, shape: Shape, options: AdapterOptions, *, parents: Sequence[Any] = ()) -> tuple[Part, ...]:
        return bottlenecks(shape, options, trains=True)

    def recognise(self, config: dict[str, Any], shape: Shape) -> dict[str, Any] | None:
        inner = config.get("config")
        if not isinstance(inner, dict) or "reduction_factor" not in inner or "peft_type" in config:
            return None
        placement = "houlsby" if inner.get("mh_adapter") else "pfeiffer"
        refuse_lost(self, inner, plain=PLAIN | PLACEMENTS[placement], ignored=IGNORED)
        return {"reduction_factor": inner["reduction_factor"], "placement": placement}

    def rebuild(self, folder: Path, setup: Setup) -> dict[str, dict[str, Any]]:
        _, options = read(self, folder, setup.backbone.shape, name=NAME)
        if options != AdapterOptions(**setup.options.model_dump()):
            raise UserError(
                expected=tr(
                    "the recipe's options in adapter_config.json ({options})",
                    options=configs.shown(setup.options.model_dump()),
                ),
                got=configs.shown(options.model_dump()),
                fix=tr("export it again"),
            )
        head = heads.read(folder, setup.backbone.shape, multi_label=setup.multi_label)
        return {
            "adapter_config.json": config_of(NAME, options, setup),
            "head_config.json": heads.rebuilt(head, NAME, setup),
        }

    def tensors(self, folder: Path, setup: Setup) -> dict[str, weights.Shapes]:
        shape = setup.backbone.shape
        return {
            "adapter.safetensors": bottleneck_tensors(shape, setup.options, NAME),
            "model_head.safetensors": heads.tensors(
                heads.read(folder, shape, multi_label=setup.multi_label), NAME, shape
            ),
        }

    def check_source(self, source: Path, shape: Shape, options: AdapterOptions) -> None:
        name, own = read(self, source, shape)
        head = heads.read(source, shape)
        for files, shapes in ((FILES, bottleneck_tensors(shape, own, name)), (HEAD_FILES, head.names(name, shape))):
            if path := foreign.require_weights(source, *files):
                weights.check(path, shapes)

    def adopt(self, source: Path, folder: Path, setup: Setup, order: Sequence[str]) -> None:
        from safetensors.torch import save_file

        shape = setup.backbone.shape
        name, options = read(self, source, shape)
        head = heads.read(source, shape)
        state = foreign.read(source, *FILES)
        foreign.check(state, bottleneck_tensors(shape, options, name), file=source.name)
        state = {key.replace(f".adapters.{name}.", f".adapters.{NAME}."): tensor for key, tensor in state.items()}
        outputs = foreign.read(source, *HEAD_FILES)
        foreign.check(outputs, head.names(name, shape), file=source.name)
        known = list(head.label_names or ())
        if not order and sorted(known) == sorted(setup.label_names):
            order = known
        rows = label_rows(setup, order, head.num_labels)
        own = heads.tensors(head, NAME, shape)
        outputs = dict(zip(own, (outputs[key] for key in head.names(name, shape)), strict=True))
        for key in list(own)[-2 if head.bias else -1 :]:
            outputs[key] = outputs[key][rows]
        configs.write(config_of(NAME, options, setup), folder / "adapter_config.json")
        configs.write(heads.config_of(head, NAME, setup), folder / "head_config.json")
        for file, content in (("adapter", state), ("model_head", outputs)):
            whole = {key: tensor.contiguous() for key, tensor in content.items()}
            save_file(whole, folder / f"{file}.safetensors", metadata={"format": "pt"})


def read(method: Method, folder: Path, shape: Shape, *, name: str | None = None) -> tuple[str, AdapterOptions]:
    """(name, options) of the adapter in a folder, from its adapter_config.json. `name`: the one it must have.

    Raises `ArgumentError` for another kind of adapter, and settings that the options cannot express.
    """
    content = configs.read_object(folder / "adapter_config.json")
    recognised, own = method.recognise(content, shape), content.get("name")
    if recognised is None:
        raise ArgumentError(
            expected=tr("a LoRA adapter of PEFT or a bottleneck adapter of AdapterHub"),
            got=configs.shown(content.get("peft_type")),
            fix=tr("choose another"),
        )
    if not isinstance(own, str) or not own or len(own) > 100 or "." in own or name not in (None, own):
        raise ArgumentError(
            expected=tr("{name} in {file}", name=f"name={name or 'NAME'}", file="adapter_config.json"),
            got=configs.shown(own),
            fix=tr("choose another"),
        )
    return own, config_check(AdapterOptions, recognised)


def check_bottlenecks(method: Method, folder: Path, shape: Shape) -> None:
    """Raise `UserError` unless a folder has a whole adapter for this encoder; its head may be missing."""
    name, options = read(method, folder, shape)
    weights.check(folder / FILES[0], bottleneck_tensors(shape, options, name))


def config_of(name: str, options: AdapterOptions, setup: Setup) -> dict[str, Any]:
    """The content of adapter_config.json for the options, as AdapterHub reads it."""
    houlsby = options.placement == "houlsby"
    inner = {"mh_adapter": houlsby, "reduction_factor": options.reduction_factor, "use_gating": False}
    return {"config": PLAIN | PLACEMENTS[options.placement] | inner, "name": name} | heads.origin(setup)


def bottleneck_tensors(shape: Shape, options: AdapterOptions, name: str) -> weights.Shapes:
    """The tensors of all bottlenecks of one adapter."""
    family, narrow, shapes = FAMILIES[shape.family], max(shape.hidden // options.reduction_factor, 1), {}
    for layer in range(shape.layers):
        for part in bottleneck_parts(options):
            path = f"{shape.prefix}.{family.layer_path}.{layer}.{family.bottlenecks[part]}.adapters.{name}"
            shapes[f"{path}.adapter_down.0.weight"] = (narrow, shape.hidden)
            shapes[f"{path}.adapter_down.0.bias"] = (narrow,)
            shapes[f"{path}.adapter_up.weight"] = (shape.hidden, narrow)
            shapes[f"{path}.adapter_up.bias"] = (shape.hidden,)
    return shapes


def adapter_parameters(shape: Shape, options: AdapterOptions) -> int:
    """The number of parameters of all bottlenecks: down and up projections with biases, two a layer for Houlsby."""
    return sum(part.total for part in bottlenecks(shape, options, trains=True))


def bottlenecks(shape: Shape, options: AdapterOptions, *, trains: bool, copies: int = 1) -> tuple[Part, ...]:
    """The bottlenecks as parts, each beside the encoder part that it follows."""
    narrow = max(shape.hidden // options.reduction_factor, 1)
    one = shape.hidden * narrow + narrow + narrow * shape.hidden + shape.hidden
    return tuple(
        Part("bottleneck", one, shape.layers, beside=part, copies=copies, trains=trains)
        for part in bottleneck_parts(options)
    )


def bottleneck_parts(options: AdapterOptions) -> tuple[str, ...]:
    """The names of the encoder parts that a bottleneck follows."""
    return ("attention_output", "output") if options.placement == "houlsby" else ("output",)


def load_adapter_model(setup: Setup):
    """AdapterHub's model on the backbone, without adapters or heads."""
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(
        setup.backbone.folder, local_files_only=True, trust_remote_code=False, attn_implementation=setup.attention
    )
    model.name_or_path = model.config._name_or_path = setup.backbone.hub_id
    if not setup.backbone.family.uses_pooler and getattr(model.base_model, "pooler", None) is not None:
        from torch import nn

        # RoBERTa's head does not read the pooler's output, but the library computes it.
        model.base_model.pooler = nn.Identity()
    return model


def add_head(model, name: str, setup: Setup) -> None:
    """Add a classification head with the layers of transformers' own for this encoder, so that heads are equal."""
    family = setup.backbone.family
    model.add_classification_head(
        name,
        num_labels=len(setup.label_names),
        layers=family.head_layers,
        activation_function=family.head_activation,
        use_pooler=family.uses_pooler,
        multilabel=setup.multi_label,
        id2label=setup.id2label,
    )


METHOD = Adapter()
