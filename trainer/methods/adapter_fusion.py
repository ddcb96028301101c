"""AdapterFusion: attention over frozen adapters of several tasks, trained on the target task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from trainer import tasks
from trainer.config import Names
from trainer.engine.prepare import Speedups
from trainer.errors import ArgumentError, UserError
from trainer.machine.measure import folder_bytes
from trainer.methods import adapter, heads
from trainer.methods.adapter import AdapterOptions, add_head, bottleneck_parts, bottlenecks, load_adapter_model
from trainer.methods.base import ADAPTERS, TUNED, Method, ParentWeights, RateSource, Setup
from trainer.sources import configs, weights
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.sources.configs import Foreign, Name
from trainer.texts import mark, tr

HEAD = "fusion"
# Tasks on the Hub are fused with one another and with the embedded domains, which are always available.
HUB_PARENTS = ("sst2", "trec6", "products", "tweets", "news")


class AdapterFusionOptions(AdapterOptions):
    """The fusion's options; `reduction_factor` and `placement` are those of parents that are trained for the run."""

    parent_tasks: Annotated[tuple[str, ...], Names.TASK] = Field(
        (), title=mark("Tasks to fuse"), description=mark("tasks whose adapters are fused (chosen if not given)")
    )
    half_file: bool = Field(
        False,
        title=mark("16-bit file"),
        description=mark("round the trained fusion to 16 bits: half the file size"),
    )


class FusionConfig(Foreign):
    """The `config` in adapter_fusion_config.json: the fusion that this program trains, and no other."""

    key: Literal[True]
    query: Literal[True]
    value: Literal[True]
    query_before_ln: Literal[False] = False
    residual_before: Literal[False] = False
    temperature: Literal[False] = False
    value_before_softmax: Literal[True] = True
    regularization: bool = True
    value_initialized: bool | Name = True
    dropout_prob: Annotated[float, Field(ge=0, lt=1)] | None = None


class Fused(Foreign):
    """adapter_fusion_config.json."""

    adapter_names: list[Name] = Field(min_length=2, max_length=100)
    config: FusionConfig
    name: str = Field(max_length=20_000)


class AdapterFusion(Method):
    """Attention over adapters in each layer (Pfeiffer et al. 2021, section 3).

    The query is the layer's output; keys and values are the adapters' outputs.
    """

    name = "adapter_fusion"
    title = "AdapterFusion"
    summary = mark("Trains attention over frozen adapters of several tasks, so that each can lend what it knows.")
    paper = "Pfeiffer et al. 2021, AdapterFusion, https://arxiv.org/abs/2005.00247"
    group = ADAPTERS
    library = "adapters"
    learning_rates = (5e-4, 5e-5)
    learning_rate_sources = (TUNED, RateSource("published", "Pfeiffer et al. 2021, section 4.1: BERT base"))
    options = AdapterFusionOptions
    speedups = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)
    parent_method = "adapter"
    min_parents = 2

    def build(self, setup: Setup):
        from adapters import Fuse

        from trainer.methods import fusion_arithmetic as fusion

        if len(setup.parents) < self.min_parents:
            raise ArgumentError(
                expected=tr("at least two adapter runs to fuse"),
                got=str(len(setup.parents)),
                fix=tr("choose more of them"),
                option_fix=tr("name more with --parents"),
            )
        model = load_adapter_model(setup)
        for parent in setup.parents:
            adapter.check_bottlenecks(adapter.METHOD, parent.folder, setup.backbone.shape)
            model.load_adapter(str(parent.folder), load_as=parent.name, with_head=False, use_safetensors=True)
        fuse = Fuse(*(parent.name for parent in setup.parents))
        model.add_adapter_fusion(fuse)
        add_head(model, HEAD, setup)
        # The names must be those of the added fusion: else only the head would train.
        model.train_adapter_fusion(fuse)
        fusion.use_tokenwise(model)
        return model.to(setup.device.kind)

    def save(self, model, folder: Path, setup: Setup) -> None:
        from adapters import Fuse

        for parent in setup.parents:
            target = folder / "adapters" / parent.name
            target.mkdir(parents=True, exist_ok=True)
            model.save_adapter(str(target), parent.name, with_head=False, use_safetensors=True)
        if setup.options.half_file:
            _round_fusions(model)
        fuse = Fuse(*(parent.name for parent in setup.parents))
        model.save_adapter_fusion(str(folder / "fusion"), fuse, with_head=HEAD, use_safetensors=True)
        if setup.options.half_file:
            _halve(folder / "fusion" / "model_adapter_fusion.safetensors")

    def open(self, folder: Path, setup: Setup):
        from trainer.methods import fusion_arithmetic as fusion

        model = load_adapter_model(setup)
        for saved in sorted(path for path in (folder / "adapters").iterdir() if path.is_dir()):
            model.load_adapter(str(saved), load_as=saved.name, with_head=False, use_safetensors=True)
        model.load_adapter_fusion(str(folder / "fusion"), with_head=True, set_active=True, use_safetensors=True)
        model.active_head = HEAD
        fusion.use_tokenwise(model)
        return model.to(setup.device.kind).eval()

    def rebuild(self, folder: Path, setup: Setup) -> dict[str, dict[str, Any]]:
        fused, parents = self._read(folder, setup.backbone.shape)
        head = heads.read(folder / "fusion", setup.backbone.shape, multi_label=setup.multi_label)
        content = fused.model_dump() | heads.origin(setup)
        return {
            **{
                f"adapters/{name}/adapter_config.json": adapter.config_of(name, options, setup)
                for name, options in parents.items()
            },
            "fusion/adapter_fusion_config.json": content,
            "fusion/head_config.json": heads.rebuilt(head, HEAD, setup),
        }

    def tensors(self, folder: Path, setup: Setup) -> dict[str, weights.Shapes]:
        shape = setup.backbone.shape
        fused, parents = self._read(folder, shape)
        head = heads.read(folder / "fusion", shape, multi_label=setup.multi_label)
        return {
            **{
                f"adapters/{name}/adapter.safetensors": adapter.bottleneck_tensors(shape, options, name)
                for name, options in parents.items()
            },
            "fusion/model_adapter_fusion.safetensors": fusion_tensors(shape, tuple(parents.values()), fused.name),
            "fusion/model_head.safetensors": heads.tensors(head, HEAD, shape),
        }

    def _read(self, folder: Path, shape: Shape) -> tuple[Fused, dict[str, AdapterOptions]]:
        """(the fusion's configuration, options of the fused adapters by name) of a saved folder."""
        content = configs.read_object(folder / "fusion" / "adapter_fusion_config.json")
        try:
            fused = Fused(**{name: value for name, value in content.items() if name in Fused.model_fields})
        except ValidationError as error:
            raise configs.refused("adapter_fusion_config.json", error) from None
        there = sorted(path.name for path in (folder / "adapters").glob("*") if path.is_dir())
        if sorted(fused.adapter_names) != there or fused.name != ",".join(fused.adapter_names):
            raise UserError(
                expected=tr("{name} in {file}", name=", ".join(fused.adapter_names)[:200], file="adapters"),
                got=", ".join(there)[:200] or tr("none"),
                fix=tr("export it again"),
            )
        return fused, {
            name: adapter.read(adapter.METHOD, folder / "adapters" / name, shape, name=name)[1] for name in there
        }

    def for_inference(self, model, setup: Setup):
        from trainer.methods import fusion_arithmetic as fusion

        fusion.merge_query_and_key(model)
        return model

    def trainable_parameters(
        self, shape: Shape, options: AdapterFusionOptions, labels: int, *, parents: Sequence[AdapterOptions] = ()
    ) -> int:
        fusions = self._fusions(shape, parents[0] if parents else options)
        return sum(part.total for part in fusions) + shape.head_parameters(labels)

    def added_parts(
        self, shape: Shape, options: AdapterFusionOptions, *, parents: Sequence[AdapterOptions] = ()
    ) -> tuple[Part, ...]:
        if not parents:
            raise ValueError("a fusion has as many adapters as it has parents: give their options")
        counted = Counter(parents).items()
        adapters = (
            part for parent, copies in counted for part in bottlenecks(shape, parent, trains=False, copies=copies)
        )
        return (*adapters, *self._fusions(shape, parents[0]))

    def _fusions(self, shape: Shape, adapter: AdapterOptions) -> tuple[Part, ...]:
        """The fusions as parts: one after each bottleneck; all parents have these in the same positions.

        Query and key layers with biases, value layer without (the paper's equation 1).
        """
        one = 3 * shape.hidden**2 + 2 * shape.hidden
        return tuple(Part("fusion", one, shape.layers, beside=part, trains=True) for part in bottleneck_parts(adapter))

    def file_size(self, folder: Path) -> int:
        return folder_bytes(folder / "fusion")

    def loading(self, *, base: str, labels: int, options: Any, head: tuple[str, ...]) -> str:
        return (
            "from pathlib import Path\nfrom adapters import AutoAdapterModel\n\n"
            f"model = AutoAdapterModel.from_pretrained({base})\n"
            'for saved in sorted(Path(folder, "adapters").iterdir()):\n'
            "    model.load_adapter(str(saved), with_head=False, load_as=saved.name, use_safetensors=True)\n"
            'model.load_adapter_fusion(f"{folder}/fusion", with_head=True, set_active=True, use_safetensors=True)'
        )

    def extra_loss(self, model):
        """The regulariser of the value matrices, their distance from the identity (section 3.2)."""
        return model.base_model.get_fusion_regularization_loss()

    def parent_options(self, options: AdapterFusionOptions) -> dict[str, Any]:
        return {"reduction_factor": options.reduction_factor, "placement": options.placement}

    def parent_tasks(self, task: str, options: AdapterFusionOptions) -> tuple[str, ...]:
        """The target task first, then others from the same source: the Hub, or the embedded sentences."""
        if options.parent_tasks:
            return options.parent_tasks
        known = task in tasks.TASKS
        others = HUB_PARENTS if known and tasks.TASKS[task].needs_hub else tasks.EMBEDDED
        return (task, *(name for name in others if name != task))

    def parent_weights(self, model, batch) -> ParentWeights:
        """The attention weights over the adapters (section 3.2, equation 1), averaged over the text's tokens."""
        import torch

        with torch.inference_mode():
            output = model(**batch, output_adapter_fusion_attentions=True)
        ((fused, layers),) = output.adapter_fusion_attentions.items()
        # A layer has one fusion with pfeiffer's placement and two with houlsby's; each is (1, tokens, parents).
        fusions = [(layer, location, values) for layer in sorted(layers) for location, values in layers[layer].items()]
        single = len(fusions) == len(layers)
        return ParentWeights(
            layers=tuple(
                str(layer + 1) if single else _layer_name(layer + 1, location) for layer, location, _ in fusions
            ),
            parents=tuple(fused.split(",")),
            weights=tuple(tuple(float(share) for share in values[0].mean(axis=0)) for _, _, values in fusions),
        )


def fusion_tensors(shape: Shape, parents: Sequence[AdapterOptions], name: str) -> weights.Shapes:
    """The tensors of the fusions over adapters with these options; see `AdapterFusion._fusions`."""
    family, shapes = FAMILIES[shape.family], {}
    square = (shape.hidden, shape.hidden)
    parts = [
        part
        for part in bottleneck_parts(AdapterOptions(placement="houlsby"))
        if any(part in bottleneck_parts(parent) for parent in parents)
    ]
    for layer in range(shape.layers):
        for part in parts:
            path = f"{shape.prefix}.{family.layer_path}.{layer}.{family.bottlenecks[part]}.adapter_fusion_layer.{name}"
            shapes |= {f"{path}.{kind}.weight": square for kind in ("key", "query", "value")}
            shapes |= {f"{path}.{kind}.bias": square[:1] for kind in ("key", "query")}
    return shapes


def _layer_name(layer: int, location: str) -> str:
    if location.startswith(("mh", "attention")):
        return tr("{layer}, after attention", layer=layer)
    return tr("{layer}, after feed-forward", layer=layer)


def _round_fusions(model) -> None:
    """Round the fusions' weights to 16 bits, so that the tested weights are the saved ones."""
    import torch
    from adapters.methods.modeling import BertFusion

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BertFusion):
                for parameter in module.parameters():
                    parameter.copy_(parameter.half())


def _halve(path: Path) -> None:
    """Rewrite the file's weights in 16 bits; loaded into a float32 model they become float32 again."""
    from safetensors.torch import load_file, save_file

    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


METHOD = AdapterFusion()
