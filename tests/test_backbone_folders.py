"""Local folders as people save them: with a head of another task, without a token that fills batches."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import BAD, GOOD, THINGS, finished_run
from test_loop import ready_loop, recipe

from trainer import methods
from trainer.errors import UserError
from trainer.jobs import queue
from trainer.methods import Parent
from trainer.runs import recipes
from trainer.serving.predictor import Predictor
from trainer.sources import backbones
from trainer.training import train
from trainer.training.request import Request


@pytest.fixture(scope="module")
def with_head(tiny_backbone, tmp_path_factory):
    """The tiny encoder saved as a classifier of so many labels, with settings that a task left there."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    def saved(labels):
        folder = tmp_path_factory.mktemp(f"head{labels}") / "bert"
        torch.manual_seed(7)
        model = BertForSequenceClassification.from_pretrained(
            tiny_backbone, num_labels=labels, problem_type="multi_label_classification", classifier_dropout=0.9
        )
        torch.nn.init.constant_(model.classifier.weight, 3.0)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_backbone).save_pretrained(folder)
        return folder

    return {labels: saved(labels) for labels in (2, 5)}


def first_weights(method, folder, task, tmp_path, seed):
    """Weights before the first step."""
    parents = ()
    if methods.get(method).parent_method:
        parents = tuple(Parent(name, name, tmp_path / name) for name in ("one", "two"))
    config = recipe(method, task, folder, seed=seed)
    return {
        name: value.detach().clone()
        for name, value in ready_loop(config, tmp_path, parents).prepared.model.named_parameters()
    }


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("method", ["full", "lora", "qlora", "adapter"])
def test_a_head_that_was_saved_with_the_folder_is_left_behind(
    method, labels, with_head, tiny_backbone, tiny_file, tmp_path
):
    """With as many labels or others: each run starts as on the folder without a head, and seeds differ."""
    start = {seed: first_weights(method, with_head[labels], tiny_file, tmp_path, seed) for seed in (0, 1)}
    plain = first_weights(method, tiny_backbone, tiny_file, tmp_path, 0)
    heads = [name for name in plain if "classifier" in name or "heads" in name]
    assert heads
    for name, value in plain.items():
        assert torch.equal(start[0][name], value), name
    assert any(not torch.equal(start[0][name], start[1][name]) for name in heads)


def test_settings_of_the_task_that_a_folder_was_saved_for_do_not_leak_in(with_head, tiny_file, tmp_path):
    model = ready_loop(recipe("full", tiny_file, with_head[5]), tmp_path).prepared.model
    assert model.config.problem_type in (None, "single_label_classification")
    assert model.config.num_labels == 2
    assert model.config.classifier_dropout is None
    assert set(model.config.id2label.values()) == {"bad", "good"}


def test_a_tokenizer_without_a_token_that_fills_batches_trains_as_one_with_it(tiny_backbone, tiny_file, tmp_path):
    """Its id is the encoder's: filled places are read by no sentence."""
    folder = tmp_path / "bert"
    shutil.copytree(tiny_backbone, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"pad_token": None, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    special = folder / "special_tokens_map.json"
    if special.exists():
        special.write_text(json.dumps({k: v for k, v in json.loads(special.read_text()).items() if k != "pad_token"}))
    losses = []
    for number, source in enumerate((tiny_backbone, folder)):
        (tmp_path / str(number)).mkdir()
        config = recipe("full", tiny_file, source, epochs=1)
        losses.append(train.train(Request(config, tmp_path / str(number), lambda event: None, costs=False)).test.loss)
    assert losses[0] == losses[1]


def test_a_folder_whose_output_is_not_finite_is_refused_before_anything_is_queued(tiny_backbone, tiny_file, own_store):
    """Its weights are finite, of the right names and shapes: two sentences passed through it show the fault."""
    from safetensors.torch import load_file, save_file

    folder = own_store.root.parent / "loud"
    shutil.copytree(tiny_backbone, folder)
    weights = load_file(folder / "model.safetensors")
    loud = {name: torch.full_like(value, 3e38) if "query" in name else value for name, value in weights.items()}
    save_file(loud, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"gives finite numbers: .*loud, got NaN"):
        queue.launch(own_store, [recipe("lora", tiny_file, folder)])
    assert own_store.list() == []
    queue.launch(own_store, [recipe("lora", tiny_file, tiny_backbone)])
    assert len(own_store.list()) == 1


def folder_of(family, tmp_path):
    """A tiny encoder of a family with random weights, and the kind of tokenizer that the family has."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, ElectraTokenizerFast, XLMRobertaTokenizerFast

    folder, words = tmp_path / family, [*GOOD, *BAD, *THINGS, "the", "is", "and"]
    folder.mkdir()
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    sizes |= {"max_position_embeddings": 66, "initializer_range": 0.2}
    if family == "electra":
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
        tokeniser = ElectraTokenizerFast(str(folder / "vocab.txt"))
        sizes |= {"embedding_size": 32}
    else:
        special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        pieces = [*special, *((f"\u2581{word}", -3.0) for word in words), ("\u2581", -9.0)]
        made = Tokenizer(models.Unigram(pieces, unk_id=3))
        made.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        tokeniser = XLMRobertaTokenizerFast(tokenizer_object=made)
        sizes |= {"type_vocab_size": 1}
    tokeniser.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=len(tokeniser), pad_token_id=tokeniser.pad_token_id, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["xlm-roberta", "electra"])
def test_a_local_folder_of_another_family_trains_predicts_and_is_opened_again(family, tiny_file, own_store, tmp_path):
    folder = folder_of(family, tmp_path)
    backbones.require_sound(str(folder))
    predictor = Predictor(own_store)
    for method, rate in (("full", 1e-3), ("lora", 1e-2), ("qlora", 1e-2), ("adapter", 1e-2), ("prompt_tuning", 1e-1)):
        config = recipes.make(
            method=method, task=str(tiny_file), backbone=str(folder), learning_rate=rate, epochs=3, batch_size=16,
            precision="fp32", max_length=64,
        )  # fmt: skip
        run = finished_run(own_store, config)
        losses = [row.train_loss for row in run.result.train_info.metrics]
        assert losses[-1] < losses[0], method
        rows = own_store.predictions(run.id).query("split == 'test'").head(3)
        for text, stored in zip(rows["text"], rows["probabilities"], strict=True):
            answer = predictor.predict_one(text, run)
            assert list(answer.probabilities.values()) == pytest.approx(list(stored), abs=1e-4), method
