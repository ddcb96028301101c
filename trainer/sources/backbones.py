"""The allow-listed encoders and those in local folders: where each comes from, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import ArgumentError, one_of
from trainer.machine import measure
from trainer.sources import assets, cleaned, configs, hub, trial
from trainer.sources.shapes import FAMILIES, Family, Part, Shape
from trainer.texts import mark, tr

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BACKBONES", "FAMILIES", "Backbone", "Family", "Located", "Part", "Shape", "encoder_layers", "locate"]


@dataclass(frozen=True)
class Backbone:
    """An encoder by name. `hub_id` and `revision` are those of its official weights."""

    name: str
    title: str
    hub_id: str
    revision: str | None
    shape: Shape
    licence: str
    embedded: bool = False


def _bert(layers: int, hidden: int) -> Shape:
    return Shape("bert", 30522, 512, 2, hidden, layers, 4 * hidden)


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "minilm",
            mark("MiniLM (22.7M), no Hub needed"),
            "sentence-transformers/all-MiniLM-L6-v2",
            None,
            _bert(6, 384),
            "Apache-2.0",
            embedded=True,
        ),
        Backbone(
            "bert-base",
            "BERT base, uncased (109M)",
            "google-bert/bert-base-uncased",
            "86b5e0934494bd15c9632b12f734a8a67f723594",
            _bert(12, 768),
            "Apache-2.0",
        ),
        Backbone(
            "bert-large",
            "BERT large, uncased (335M)",
            "google-bert/bert-large-uncased",
            "6da4b6a26a1877e173fca3225479512db81a5e5b",
            _bert(24, 1024),
            "Apache-2.0",
        ),
        Backbone(
            "distilbert",
            "DistilBERT base, uncased (66M)",
            "distilbert/distilbert-base-uncased",
            "12040accade4e8a0f71eabdb258fecc2e7e948be",
            Shape("distilbert", 30522, 512, 0, 768, 6, 3072),
            "Apache-2.0",
        ),
        Backbone(
            "roberta-base",
            "RoBERTa base (125M)",
            "FacebookAI/roberta-base",
            "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
            Shape("roberta", 50265, 514, 1, 768, 12, 3072),
            "MIT",
        ),
        Backbone(
            "xlm-roberta-base",
            mark("XLM-RoBERTa base, 100 languages (278M)"),
            "FacebookAI/xlm-roberta-base",
            "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
            Shape("xlm-roberta", 250002, 514, 1, 768, 12, 3072),
            "MIT",
        ),
        Backbone(
            "electra-small",
            "ELECTRA small (14M)",
            "google/electra-small-discriminator",
            "fa8239aadc095e9164941d05878b98afe9b953c3",
            Shape("electra", 30522, 512, 2, 256, 12, 1024, embedding=128),
            "Apache-2.0",
        ),
        Backbone(
            "bert-mini",
            "BERT mini (11M)",
            "google/bert_uncased_L-4_H-256_A-4",
            "387825ce42dbb39b87911cdf8e383ee3b25184f8",
            _bert(4, 256),
            "Apache-2.0",
        ),
        Backbone(
            "bert-tiny",
            "BERT tiny (4M)",
            "google/bert_uncased_L-2_H-128_A-2",
            "30b0a37ccaaa32f332884b96992754e246e48c5f",
            _bert(2, 128),
            "Apache-2.0",
        ),
    )
}


@dataclass(frozen=True)
class Located:
    """A backbone whose files are on this machine."""

    name: str
    folder: Path
    shape: Shape
    hub_id: str
    revision: str | None

    @property
    def family(self) -> Family:
        return FAMILIES[self.shape.family]

    @property
    def pad_id(self) -> int:
        """The id that fills batches, from the encoder's configuration: a tokenizer may have none, or name another."""
        return configs.read_object(self.folder / "config.json")["pad_token_id"]

    def sha256(self) -> str:
        """The SHA-256 of the weights, which identifies the backbone whatever its folder is called."""
        weights = next(self.folder / name for name in hub.WEIGHTS if (self.folder / name).is_file())
        return measure.sha256(weights)


def shape_of(name: str) -> Shape:
    """The shape of a backbone by name or folder, without a download."""
    return BACKBONES[name].shape if name in BACKBONES else _read(name)[2]


def locate(name: str, *, download: bool = True) -> Located:
    """The backbone's files on this machine, downloaded first if needed and allowed.

    What libraries open is in a folder of its own: the configurations are written again, and the weights of a local
    folder are checked (`sources.cleaned`). The embedded backbone's files are pinned by their hashes.

    Raises `ArgumentError` for an unknown name or an unsuitable folder, `Unreachable` when the source cannot be reached.
    """
    backbone = BACKBONES.get(name)
    if backbone is None:
        folder, config, shape = _read(name)
        return Located(str(folder), cleaned.folder(folder, config, shape), shape, str(folder), None)
    if backbone.embedded:
        if not download and not assets.is_cached(assets.MINILM):
            raise hub.not_here(name)
        folder = assets.minilm()
    else:
        source = hub.model_folder(backbone.hub_id, backbone.revision, download=download)
        # The commit is pinned: its weights are the official ones, in whatever old names, and other fields are metadata.
        content, kind = configs.read_object(source / "config.json"), backbone.shape.family
        known = configs.ENCODERS[kind].model_fields
        content = {"model_type": kind} | {name: value for name, value in content.items() if name in known}
        config = configs.encoder(content, file=f"{backbone.hub_id}/config.json")
        folder = cleaned.folder(source, config, Shape.from_config(config), pinned=True)
    return Located(name, folder, backbone.shape, backbone.hub_id, backbone.revision)


def require_sound(name: str) -> None:
    """Raise `UserError` for a local folder whose weights or tokenizer are not those of its configuration.

    Two sentences pass through it, once for its files.
    """
    if name not in BACKBONES:
        located = locate(name)
        trial.forward(located.folder, pad_id=located.pad_id, shown=name)


def _read(name: str) -> tuple[Path, dict[str, Any], Shape]:
    """(folder, rebuilt configuration, shape) of a backbone in a local folder."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise one_of(mark("a backbone or a local folder"), name, tuple(BACKBONES))
    missing = [file for file in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / file).is_file()]
    if missing:
        raise ArgumentError(
            expected=tr("a folder with config.json, model.safetensors and tokenizer.json"),
            got=tr("{folder} without {files}", folder=folder, files=", ".join(missing)),
            fix=tr("save the model there with save_pretrained, and its fast tokenizer"),
        )
    config = configs.encoder(configs.read_object(folder / "config.json"), file=str(folder / "config.json"))
    config = configs.without_head(config)
    shape = Shape.from_config(config)
    require_fit(shape)
    return folder.resolve(), config, shape


def require_fit(shape: Shape) -> None:
    """Raise `ArgumentError` for an encoder whose weights alone exceed this machine's memory."""
    import psutil

    needed, memory = 4 * shape.encoder_parameters, psutil.virtual_memory().total
    if needed > memory:
        raise ArgumentError(
            expected=tr("a model that fits in this machine's {size} GiB", size=f"{memory / 2**30:.0f}"),
            got=f"{needed / 2**30:,.0f} GiB",
            fix=tr("choose another"),
        )


def encoder_layers(model: nn.Module, family: Family) -> nn.ModuleList:
    """The encoder's layers from the first on, also of a model that a method's library wrapped."""
    return next(module for name, module in model.named_modules() if name.endswith(family.layer_path))
