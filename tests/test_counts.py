"""Counts of parameters by theory against models that are really built: fusions of any parents, LoRA's variants."""

from __future__ import annotations

import json

import pytest
from conftest import sentences

from trainer import methods, tasks
from trainer.analysis import lesson
from trainer.machine import device
from trainer.methods import Parent, Setup
from trainer.runs import estimate, recipes
from trainer.sources import backbones

LABELS = ("a", "b", "c")


def located(family: str, folder) -> backbones.Located:
    """A small encoder of a family, with random weights."""
    from transformers import AutoModel, BertConfig, DistilBertConfig, RobertaConfig

    sizes = {"vocab_size": 50, "max_position_embeddings": 40}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = {
        "bert": lambda: BertConfig(**layers, **sizes),
        "roberta": lambda: RobertaConfig(type_vocab_size=1, **layers, **sizes),
        "distilbert": lambda: DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, **sizes),
    }[family]()
    AutoModel.from_config(config).save_pretrained(folder)
    shape = backbones.Shape.from_config(json.loads((folder / "config.json").read_text()))
    return backbones.Located("tiny", folder, shape, "tiny", None)


def counted(model) -> tuple[int, int]:
    """(trainable, all) parameters, without PEFT's frozen copy of the fresh head."""
    found = [p for name, p in model.named_parameters() if "original_module" not in name]
    return sum(p.numel() for p in found if p.requires_grad), sum(p.numel() for p in found)


PARENTS = [
    [{}, {}],
    [{}] * 5,
    [{"reduction_factor": 4}, {"reduction_factor": 16}, {"reduction_factor": 4}],
    [{"placement": "houlsby"}] * 3,
    [{"placement": "houlsby", "reduction_factor": 2}, {"placement": "houlsby"}],
]


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("own", PARENTS)
def test_a_fusion_is_counted_with_the_parents_that_it_fuses(family, own, tmp_path):
    backbone = located(family, tmp_path)
    adapter, fusion = methods.get("adapter"), methods.get("adapter_fusion")
    options, parents = [adapter.options(**values) for values in own], []
    for i, one in enumerate(options):
        setup = Setup(backbone, LABELS, one, device.detect())
        adapter.save(adapter.build(setup), tmp_path / f"p{i}", setup)
        parents.append(Parent(f"p{i}", f"p{i}", tmp_path / f"p{i}"))
    setup = Setup(backbone, LABELS, fusion.options(), device.detect(), parents=tuple(parents))
    trainable, total = counted(fusion.build(setup))
    shape, labels = backbone.shape, len(LABELS)
    assert fusion.trainable_parameters(shape, setup.options, labels, parents=options) == trainable
    assert shape.encoder_parameters + fusion.added_parameters(shape, setup.options, labels, parents=options) == total
    parts = fusion.parts(shape, setup.options, labels, parents=options)
    assert sum(part.total for part in parts) == total
    assert sum(part.total for part in parts if part.trains) == trainable


def test_a_fusion_without_parents_has_no_count():
    fusion, shape = methods.get("adapter_fusion"), backbones.shape_of("minilm")
    with pytest.raises(ValueError, match="give their options"):
        fusion.added_parameters(shape, fusion.options(), 2)


@pytest.mark.parametrize("task", [*tasks.TASKS, "file"])
@pytest.mark.parametrize("given", [{}, {"parent_tasks": ("movies", "news", "tweets")}, {"placement": "houlsby"}])
def test_an_estimate_counts_the_adapters_that_are_trained_for_the_task(task, given, tmp_path):
    import pandas as pd

    if task == "file":
        task = str(tmp_path / "mine.csv")
        pd.DataFrame(sentences(40), columns=["sentence", "label"]).to_csv(task, index=False)
    config = recipes.make(method="adapter_fusion", task=task, backbone="minilm", **given)
    parents = recipes.parents_of(config)
    adapter, shape = methods.get("adapter"), backbones.shape_of("minilm")
    options = [adapter.options(**parent.options) for parent in parents]
    assert list(recipes.fused_options(config, [])) == options
    found, (_, labels) = estimate.estimate(config), tasks.extent(config)
    each = adapter.added_parameters(shape, options[0], labels) - shape.head_parameters(labels)
    assert found.total_parameters == shape.encoder_parameters + len(parents) * each + found.trainable_parameters


def test_an_estimate_counts_named_parents_as_they_are(own_store):
    def adapter(task, **given):
        return own_store.create(recipes.make(method="adapter", task=task, backbone="minilm", **given))

    wide, narrow = adapter("movies", reduction_factor=2), adapter("news", reduction_factor=64)
    other = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    config = recipes.make(
        method="adapter_fusion", task="movies", backbone="minilm", parents=(wide.id, narrow.id, other.id, "gone")
    )
    found = recipes.fused_options(config, own_store.list())
    assert [options.reduction_factor for options in found] == [2, 64, 16, 16]
    total = estimate.estimate(config, earlier=own_store.list()).total_parameters
    assert total > estimate.estimate(config).total_parameters


def test_the_lesson_draws_the_adapters_of_its_own_task():
    parts = lesson.anatomy("adapter_fusion", "minilm").parts
    copies = [part.copies for part in parts if part.name == "bottleneck"]
    assert copies == [len(recipes.parents_of(lesson.recipe("adapter_fusion")))]
