"""What may enter: configurations and weights from elsewhere, zip files, and models that are slow to open."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import threading
import time
import tracemalloc
import zipfile
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as varied
from hypothesis import settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from test_counts import hub_config, located, peft_config

from trainer import methods
from trainer.engine.building import BUILDING
from trainer.engine.sharing import Pool
from trainer.errors import ArgumentError, Unreachable, UserError
from trainer.jobs import adoption, leftovers
from trainer.jobs import queue as jobs
from trainer.machine.device import Device, quiet_libraries
from trainer.methods import Parent, Setup, foreign, peft_method
from trainer.publish.bundled import BUNDLED
from trainer.runs import archive, entry, predictions, recipes
from trainer.runs.damage import Damaged
from trainer.serving import opening
from trainer.serving import predictor as serving
from trainer.serving.opening import Openings, StillOpening
from trainer.serving.predictor import Predictor
from trainer.sources import backbones, cleaned, configs, tensors, tokenizers, weights

LABELS = ("a", "b", "c")
CPU = Device("cpu", "a CPU", 1 << 30, ("fp32",))
SAVED = [
    ("full", {}),
    ("lora", {"r": 4, "target_modules": ["query", "intermediate", "output"]}),
    ("lora", {"r": 4, "use_dora": True, "use_rslora": True}),
    ("lora", {"r": 4, "lora_bias": True}),
    ("qlora", {"r": 4}),
    ("adapter", {"reduction_factor": 4}),
    ("adapter", {"placement": "houlsby"}),
    ("adapter_fusion", {"placement": "houlsby"}),
    ("adapter_fusion", {}),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(method, setup, folder) of untrained models of every method on every kind of encoder."""
    quiet_libraries()
    made = []
    for family in backbones.FAMILIES:
        root = tmp_path_factory.mktemp(family)
        backbone = located(family, root / "backbone")
        for number, (name, options) in enumerate(SAVED):
            method, folder = methods.get(name), root / str(number)
            parents = ()
            if method.parent_method:
                parent = methods.get("adapter")
                for lent in ("one", "two"):
                    own = Setup(backbone, LABELS, parent.options(**options, reduction_factor=8), CPU)
                    (folder / lent).mkdir(parents=True)
                    parent.save(parent.build(own), folder / lent, own)
                    parents += (Parent(lent, lent, folder / lent),)
                folder /= "model"
            setup = Setup(backbone, LABELS, method.options(**options), CPU, parents=parents)
            folder.mkdir(parents=True, exist_ok=True)
            model = method.build(setup)
            if name == "full":  # without a tokenizer, which an encoder of a test has not
                model.save_pretrained(folder)
            else:
                method.save(model, folder, setup)
            made.append((method, setup, folder))
    return made


def test_what_a_method_saves_may_enter_and_opens_from_its_rebuilt_configurations(saved, tmp_path):
    """Names and shapes by theory are those that the libraries write, for every method and encoder."""
    import torch

    for number, (method, setup, folder) in enumerate(saved):
        method.check(folder, setup)
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
        assert set(method.tensors(folder, setup)) == files
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        for name, content in method.rebuild(folder, setup).items():
            configs.write(content, copy / name)
        method.check(copy, setup)
        inputs = {"input_ids": torch.arange(4, 12)[None], "attention_mask": torch.ones(1, 8, dtype=torch.long)}
        with torch.inference_mode():
            logits = [method.open(path, setup)(**inputs).logits for path in (folder, copy)]
        assert torch.equal(*logits), (method.name, setup.backbone.shape.family)


def _nan(values):
    values[next(iter(values))].flat[-1] = np.nan


def _infinite(values):
    values[sorted(values)[-1]].flat[0] = np.inf


def _byte(values):
    name = next(iter(values))
    values[name] = values[name].astype(np.int8)


def _double(values):
    name = next(iter(values))
    values[name] = values[name].astype(np.float64)


def _missing(values):
    del values[sorted(values)[len(values) // 2]]


def _half(values):
    for name in sorted(values)[: len(values) // 2]:
        del values[name]


def _extra(values):
    values["surprise.weight"] = np.ones(2, np.float32)


def _wide(values):
    name = sorted(values)[0]
    values[name] = np.concatenate([values[name], values[name]])


SPOILT = {
    _nan: "NaN or infinity",
    _infinite: "NaN or infinity",
    _byte: ": I8",
    _double: ": F64",
    _missing: ", got none;",
    _half: ", got none;",
    _extra: "nothing but this model's weights",
    _wide: r"\] in .*, got \[",
}


def test_spoilt_weights_are_refused_in_a_sentence_whatever_the_method(saved, tmp_path):
    for number, (method, setup, folder) in enumerate(saved):
        spoils = SPOILT if setup.backbone.shape.family == "bert" else {_missing: SPOILT[_missing]}
        for file in method.tensors(folder, setup):
            for spoil, reason in spoils.items():
                copy = tmp_path / f"{number}-{spoil.__name__}-{len(file)}"
                shutil.copytree(folder, copy)
                values = load_file(copy / file)
                spoil(values)
                save_file(values, copy / file)
                with pytest.raises(UserError, match=reason) as caught:
                    method.check(copy, setup)
                assert "\n" not in str(caught.value)
                shutil.rmtree(copy)


def _cut(data: bytes) -> bytes:
    return data[:-4]


def _grown(data: bytes) -> bytes:
    return data + bytes(4)


def _huge_header(data: bytes) -> bytes:
    return struct.pack("<Q", 1 << 60) + data[8:]


def _no_header(data: bytes) -> bytes:
    return b""


def _deep(data: bytes) -> bytes:
    text = b'{"a":' * 100_000
    return struct.pack("<Q", len(text)) + text


def _overlap(data: bytes) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    content = json.loads(data[8 : 8 + length])
    first, second = [entry for name, entry in sorted(content.items()) if name != "__metadata__"][:2]
    second["data_offsets"] = first["data_offsets"]
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _pickle(data: bytes) -> bytes:
    return b"\x80\x04\x95" + data


@pytest.mark.parametrize("spoil", [_cut, _grown, _huge_header, _no_header, _deep, _overlap, _pickle])
def test_a_damaged_file_of_weights_is_refused_before_it_is_read(spoil, tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_file({"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float32)}, path)
    weights.check(path, {"a": (2, 3), "b": (5,)})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ArgumentError, match=r"adapter\.safetensors"):
        weights.check(path, {"a": (2, 3), "b": (5,)})


def test_sixteen_bits_may_enter_and_their_nan_may_not(tmp_path):
    import torch
    from safetensors.torch import save_file as save

    for kind in (torch.float16, torch.bfloat16, torch.float32):
        values = torch.linspace(-3, 3, 1000).to(kind)
        save({"a": values}, tmp_path / "x.safetensors")
        weights.check(tmp_path / "x.safetensors", {"a": (1000,)})
        for wrong in (torch.nan, torch.inf, -torch.inf):
            values[-1] = wrong
            save({"a": values}, tmp_path / "x.safetensors")
            with pytest.raises(UserError, match="NaN or infinity in a"):
                weights.check(tmp_path / "x.safetensors", {"a": (1000,)})


# Encoders

BERT = {
    "model_type": "bert", "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 40,
}  # fmt: skip
DISTILBERT = {"model_type": "distilbert", "vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
REFUSED = [
    {"_attn_implementation": "owner/kernel"},
    {"attn_implementation": "owner/kernel"},
    {"_attn_implementation_internal": "owner/kernel"},
    {"auto_map": {"AutoModel": "owner/code--model.Model"}},
    {"auto_map": "model.Model"},
    {"custom_pipelines": {"text-classification": {"impl": "code.Pipeline"}}},
    {"custom_object": "x"},
    {"megatron_core": "os"},
    {"megatron_config": {"a": 1}},
    {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    {"is_decoder": True},
    {"add_cross_attention": True},
    {"pruned_heads": {"0": [1]}},
    {"position_embedding_type": "relative_key"},
    {"hidden_act": "os.system"},
    {"base_model_tp_plan": {"layers": "colwise"}},
    {"rope_scaling": {"type": "linear"}},
    {"of_a_later_version": 0.5},
    {"model_type": "custom"},
    {"model_type": "../bert"},
    {"model_type": ["bert"]},
    {"model_type": None},
    {"hidden_size": "32"},
    {"hidden_size": 32.5},
    {"hidden_size": 33},
    {"hidden_size": -32},
    {"hidden_size": 10**9},
    {"num_hidden_layers": 3_000_000},
    {"num_hidden_layers": 10**400},
    {"num_hidden_layers": [2]},
    {"num_attention_heads": 0},
    {"num_attention_heads": 3},
    {"intermediate_size": 10**8},
    {"vocab_size": 10**9},
    {"vocab_size": True},
    {"max_position_embeddings": 10**7},
    {"type_vocab_size": 10**6},
    {"layer_norm_eps": float("nan")},
    {"layer_norm_eps": -1.0},
    {"hidden_dropout_prob": 2},
    {"pad_token_id": 50},
]


@pytest.mark.parametrize("given", REFUSED, ids=str)
def test_a_config_that_could_change_what_is_computed_is_refused_at_once(given, tmp_path):
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(json.dumps(BERT | given))
    since = time.process_time()
    for read in (backbones.shape_of, backbones.locate):
        with pytest.raises(ArgumentError) as caught:
            read(str(tmp_path))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    assert time.process_time() - since < 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@settings(max_examples=300, deadline=None)
@varied(st.sampled_from([BERT, DISTILBERT]), st.dictionaries(st.sampled_from([*BERT, *DISTILBERT, "auto_map"]), VALUES))
def test_any_config_is_rebuilt_within_its_bounds_or_refused_in_a_sentence(plain, given):
    try:
        rebuilt = configs.encoder(plain | given)
    except ArgumentError:
        return
    assert "auto_map" not in rebuilt
    shape = backbones.Shape.from_config(rebuilt)
    assert shape.layers <= 128
    assert shape.hidden <= 8192
    assert shape.vocabulary <= 1_000_000


def test_metadata_is_dropped_and_the_rest_written_again():
    harmless = {
        "architectures": ["BertModel"], "transformers_version": "4.1", "_name_or_path": "/home/x", "dtype": "float32",
        "_attn_implementation": None, "auto_map": {}, "is_decoder": False, "pruned_heads": {}, "id2label": {"0": "x"},
        "use_cache": True, "quantization_config": None,
    }  # fmt: skip
    for content in (BERT, BERT | {"model_type": "roberta", "type_vocab_size": 1}, DISTILBERT):
        rebuilt = configs.encoder(content | harmless)
        assert not set(rebuilt) & set(harmless)
        assert content.items() <= rebuilt.items()
        assert configs.encoder(rebuilt) == rebuilt


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"a":' * 200_000, "null", "[]", "{", "", '{"a": NaN}', '"' + '\\"' * 100_000, "\xff",
     " " * (2 << 20), '{"a": 1' + "0" * 10_000 + "}"],
    ids=lambda text: text[:9],
)  # fmt: skip
def test_json_is_bounded_before_it_is_parsed(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    since = time.process_time()
    with pytest.raises(ArgumentError, match=r"config\.json"):
        configs.read_object(tmp_path / "config.json")
    assert time.process_time() - since < 1


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b'\\"' * 500_000,
        b'["' + b"a\\\\" * 300_000 + b'"]',
        b'"' * 1_000_001,
        b'["a", "b"]' * 100_000,
        b'"' + b"a" * 10**6,
    ],
    ids=lambda data: str(data[:8]),
)
def test_the_depth_of_json_is_checked_in_little_memory(data):
    tracemalloc.start()
    for _ in configs._STRING_OR_BRACKET.finditer(data):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000, "of this and of whatever other threads do; a frame a byte would take a hundred times that"


def test_numbers_that_are_no_json_are_read_only_where_they_may_be(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"loss": [NaN, Infinity, -Infinity, 1]}')
    assert configs.read_object(path, constants=True)["loss"][1:] == [float("inf"), -float("inf"), 1]
    with pytest.raises(ArgumentError):
        configs.read_object(path)
    path.write_text('{"loss": ' + "[" * 40 + "NaN" + "]" * 40 + "}")
    with pytest.raises(ArgumentError, match="levels"):
        configs.read_object(path, constants=True)


BASE = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
"""As files on the Hub have them, by the version of the library that wrote them."""
WRITTEN = {
    "transformers 2": BERT | BASE | {
        "architectures": ["BertForSequenceClassification"], "bos_token_id": 0, "do_sample": False, "eos_token_ids": 0,
        "finetuning_task": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False,
        "length_penalty": 1.0,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "max_length": 20, "num_beams": 1, "num_labels": 2, "top_p": 1.0,
        "num_return_sequences": 1, "output_attentions": False, "output_hidden_states": True, "output_past": True,
        "pruned_heads": {}, "repetition_penalty": 1.0, "temperature": 1.0, "top_k": 50, "torchscript": False,
        "use_bfloat16": False, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    },
    "transformers 3": DISTILBERT | {
        "activation": "gelu", "architectures": ["DistilBertModel"], "attention_dropout": 0.1, "dropout": 0.1,
        "initializer_range": 0.02, "max_position_embeddings": 512, "pad_token_id": 0, "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True, "_num_labels": 3,
        "output_attentions": True, "bad_words_ids": None, "xla_device": None, "output_past": True,
    },
    "transformers 4": BERT | BASE | {
        "model_type": "roberta", "_name_or_path": "roberta-base", "architectures": ["RobertaForMaskedLM"],
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "unk_token_id": 3, "classifier_dropout": None,
        "gradient_checkpointing": False, "layer_norm_eps": 1e-05, "position_embedding_type": "absolute",
        "problem_type": "single_label_classification", "torch_dtype": "float32", "transformers_version": "4.46.0",
        "type_vocab_size": 1, "use_cache": True, "_attn_implementation_autoset": True, "model_max_length": 512,
    },
    "transformers 5": BERT | BASE | {
        "add_cross_attention": False, "architectures": ["BertModel"], "bos_token_id": None, "classifier_dropout": None,
        "dtype": "float32", "eos_token_id": None, "is_decoder": False, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "tie_word_embeddings": True, "transformers_version": "5.0.0", "type_vocab_size": 2, "use_cache": True,
    },
    "sentence-transformers": BERT | BASE | {
        "_name_or_path": "x", "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0}, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
        "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0"},
        "transformers_version": "4.52.1", "type_vocab_size": 2,
    },
}  # fmt: skip
"""config.json as files on the Hub have it, by the library that wrote it."""


@pytest.mark.parametrize("writer", WRITTEN)
def test_a_config_as_libraries_write_it_is_taken(writer):
    content = WRITTEN[writer]
    rebuilt = configs.encoder(content)
    assert rebuilt.items() >= {name: content[name] for name in rebuilt if content.get(name) is not None}.items()
    assert "torch.nn" not in json.dumps(rebuilt)


def test_a_robertas_positions_begin_after_its_padding_token():
    roberta = BERT | {"model_type": "roberta", "type_vocab_size": 1}
    for padding, positions in ((0, 4), (1, 514), (1, 5), (5, 40)):
        sizes = {"pad_token_id": padding, "max_position_embeddings": positions}
        shape = backbones.Shape.from_config(configs.encoder(roberta | sizes))
        assert shape.longest == positions - padding - 1 >= 3
    assert backbones.BACKBONES["roberta-base"].shape.longest == 512
    assert backbones.Shape.from_config(configs.encoder(BERT | {"pad_token_id": 7})).longest == 40
    for padding, positions in ((1, 4), (0, 3), (37, 40), (49, 40)):
        with pytest.raises(ArgumentError, match="max_position_embeddings"):
            configs.encoder(roberta | {"pad_token_id": padding, "max_position_embeddings": positions})


SMALL = backbones.Shape("bert", 10, 8, 2, 8, 1, 16)


@pytest.mark.parametrize(
    ("prefixed", "beside", "metadata", "reason"),
    [
        ("none", {}, None, None),
        ("all", {"cls.predictions.bias"}, {"format": "pt"}, None),
        ("all", {"bert.embeddings.position_ids"}, {"format": "mlx", "a": "b"}, None),
        ("none", {"embeddings.position_ids", "classifier.bias"}, {"format": "pt"}, None),
        ("half", {}, None, r"bert\.\* \+"),
        ("one", {}, None, r"bert\.\* \+"),
        ("none", {"bert.embeddings.position_ids"}, None, r"bert\.\* \+"),
        ("all", {"embeddings.LayerNorm.weight"}, None, r"bert\.\* \+"),
        ("all", {"bert.embeddings.LayerNorm.gamma"}, None, "whole safetensors"),
        ("all", {"bert.bert.pooler"}, None, "nothing but this model's weights"),
        ("none", {}, {"format": "tf"}, 'format="tf"'),
        ("none", {}, {"format": "flax"}, 'format="flax"'),
        ("none", {}, {"a": "b"}, "format=null"),
    ],
)
def test_an_encoders_names_have_its_prefix_all_or_none(prefixed, beside, metadata, reason, tmp_path):
    shapes = tensors.encoder(SMALL)
    share = {"none": 0, "one": 1, "half": len(shapes) // 2, "all": len(shapes)}[prefixed]
    names = [f"bert.{name}" if index < share else name for index, name in enumerate(shapes)]
    values = {name: np.zeros(shape, np.float32) for name, shape in zip(names, shapes.values(), strict=True)}
    path = tmp_path / "model.safetensors"
    save_file(values | {name: np.zeros(8, np.float32) for name in beside}, path, metadata=metadata)
    if reason is None:
        cleaned.check(path, SMALL)
        return
    with pytest.raises(UserError, match=reason):
        cleaned.check(path, SMALL)


@pytest.mark.parametrize("metadata", [[], 3, "pt", {"format": 1}, {"format": None}, {"a": {"b": "c"}}], ids=str)
def test_metadata_of_weights_are_texts(metadata, tmp_path):
    text = json.dumps({"__metadata__": metadata, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(ArgumentError, match="got __metadata__"):
        weights.header(path)


WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}
UNIGRAM = {"type": "Unigram", "unk_id": 1, "vocab": [[word, 0.0] for word in WORDS]}
TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]}


def _template(number: int) -> dict:
    return TEMPLATE | {"special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2, number], "tokens": ["[CLS]"]}}}


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("tokenizer", {"post_processor": _template(4)}, None),
        ("tokenizer", {"post_processor": _template(5)}, "token ids below"),
        ("tokenizer", {"post_processor": {"type": "Sequence", "processors": [_template(9)]}}, "token ids below"),
        ("tokenizer", {"post_processor": {"type": "BertProcessing", "sep": ["x", 5], "cls": ["y", 2]}}, "token ids"),
        ("tokenizer", {"padding": {"pad_id": 5}}, "token ids below"),
        ("tokenizer", {"model": UNIGRAM}, None),
        ("tokenizer", {"model": UNIGRAM | {"unk_id": 5}}, "token ids below"),
        ("tokenizer", {"added_tokens": [{"id": 3, "content": "new"}]}, "token ids below"),
        ("tokenizer", {"added_tokens": [{"id": 3, "content": "[SEP]"}]}, None),
        ("tokenizer_config", {"cls_token": {"content": "[CLS]"}, "sep_token": "[SEP]", "pad_token": None}, None),
        ("tokenizer_config", {"cls_token": "<s>"}, '"<s>" in tokenizer.json'),
        ("tokenizer_config", {"mask_token": {"content": "<mask>"}}, '"<mask>" in tokenizer.json'),
        ("tokenizer_config", {"pad_token": {"content": ["x"]}}, "in tokenizer.json"),
        ("tokenizer_config", {"pad_token": 7}, "in tokenizer.json"),
        ("tokenizer_config", {"additional_special_tokens": ["a", "b"]}, '"b" in tokenizer.json'),
        ("tokenizer_config", {"extra_special_tokens": {"image_token": "b"}}, '"b" in tokenizer.json'),
        ("tokenizer_config", {"extra_special_tokens": ["b"]}, '"b" in tokenizer.json'),
        ("tokenizer_config", {"added_tokens_decoder": {"9": {"content": "b"}}}, '"b" in tokenizer.json'),
        ("special_tokens_map", {"unk_token": "b"}, '"b" in tokenizer.json'),
        ("tokenizer_config", {"auto_map": {}, "custom_x": "y"}, "custom_x"),
        ("tokenizer_config", {"auto_map": None, "tokenizer_class": "os.system"}, "tokenizer_class"),
        ("tokenizer_config", {"custom_a": False, "custom_b": [], "auto_map": ["x"]}, "auto_map"),
        ("tokenizer_config", {"tokenizer_class": ["os.system"]}, "tokenizer_class"),
    ],
    ids=str,
)
def test_every_token_of_a_tokenizer_has_a_row(file, change, reason, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    content = {"tokenizer": {"model": {"type": "WordPiece", "vocab": WORDS}}} | {}
    content[file] = content.get(file, {}) | change
    for name, value in content.items():
        (source / f"{name}.json").write_text(json.dumps(value))
    if reason is None:
        tokenizers.copy(source, target, vocabulary=len(WORDS))
        return
    with pytest.raises(ArgumentError, match=reason):
        tokenizers.copy(source, target, vocabulary=len(WORDS))


def test_a_tokenizer_of_transformers_5_is_written_as_version_4_reads_it(tmp_path):
    written = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["a"], "backend": "tokenizers"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": WORDS}}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(written | {"cls_token": "[CLS]"}))
    (tmp_path / "out").mkdir()
    tokenizers.copy(tmp_path, tmp_path / "out", vocabulary=5)
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings == {"additional_special_tokens": ["a"], "cls_token": "[CLS]"}


def test_a_model_that_exceeds_the_memory_is_refused_from_its_sizes():
    shape = backbones.Shape("bert", 1_000_000, 65_536, 2, 8192, 128, 65_536)
    with pytest.raises(ArgumentError, match=r"fits in this machine's \d+ GiB, got [\d,]+ GiB"):
        backbones.require_fit(shape)


def test_a_damaged_backbone_queues_nothing(own_store, tiny_backbone, tiny_file, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)
    shutil.copytree(tiny_backbone, tmp_path / "mine")
    values = load_file(tmp_path / "mine" / "model.safetensors")
    _nan(values)
    save_file(values, tmp_path / "mine" / "model.safetensors")
    config = recipes.make(method="lora", task=str(tiny_file), backbone=str(tmp_path / "mine"))
    with pytest.raises(UserError, match="NaN or infinity"):
        jobs.launch(own_store, [config])
    assert own_store.list() == []


def test_a_local_backbone_is_checked_and_libraries_see_its_copy_alone(tiny_backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("PEFT_LAB_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "mine"
    shutil.copytree(tiny_backbone, source)
    (source / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/other"}')
    (source / "modeling.py").write_text("raise SystemExit")
    known = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(known | {"surprise": 1}))
    found = backbones.locate(str(source))
    assert found.name == found.hub_id == str(source)
    there = {path.name for path in found.folder.iterdir()}
    assert (
        {"config.json", "model.safetensors", "tokenizer.json"}
        <= there
        <= {*tokenizers.FILES, "config.json", "model.safetensors"}
    )
    assert "surprise" not in (found.folder / "tokenizer_config.json").read_text()
    assert backbones.locate(str(source)).folder == found.folder, "once for the same files"
    plain = load_file(source / "model.safetensors")
    for spoil in (_nan, _missing, _byte, _wide, _extra):
        values = {name: value.copy() for name, value in plain.items()}
        spoil(values)
        save_file(values, source / "model.safetensors")
        with pytest.raises(UserError, match=SPOILT[spoil]):
            backbones.locate(str(source))
    # As published checkpoints are: with a prefix, the heads of pretraining, a buffer, and names of 2018.
    older = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in plain.items()}
    older |= {"cls.predictions.bias": np.ones(3, np.float32), "bert.embeddings.position_ids": np.arange(64)[None]}
    save_file(older, source / "model.safetensors")
    cleaned.check(source / "model.safetensors", found.shape)


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("tokenizer.json", {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "Regex="),
        ("tokenizer.json", {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}}}, "Regex="),
        ("tokenizer.json", {"added_tokens": [{"id": 10**6, "content": "x"}]}, "token ids below"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["code.T", None]}}, "auto_map"),
        ("tokenizer_config.json", {"tokenizer_class": "os.system"}, "tokenizer_class"),
    ],
)
def test_a_tokenizer_that_names_code_or_a_pattern_is_refused(file, change, reason, tiny_backbone, tmp_path):
    shutil.copytree(tiny_backbone, tmp_path / "mine")
    path = tmp_path / "mine" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArgumentError, match=reason):
        backbones.locate(str(tmp_path / "mine"))


# Adapters from elsewhere

PATTERNS = [
    "(([a-z.0-9_])+)+[A-Z]",
    r".*\.(key|value)",
    r".*layer\.0.*query",
    r".*\.encoder\.layer\.\d+\.(attention\.self\.query|(a+)+)",
    ["query", "(a+)+$"],
    ["query", ""],
    ["query", 3],
    {"query": 1},
    7,
    ["query"] * 2000,
    "a" * 5000,
]


@pytest.mark.parametrize("targets", PATTERNS, ids=lambda value: str(value)[:30])
def test_no_pattern_from_elsewhere_is_run(targets, monkeypatch):
    def never(*_):
        raise AssertionError("a pattern from elsewhere")

    config, shape = peft_config(target_modules=targets), backbones.shape_of("minilm")

    def recognise():
        with monkeypatch.context() as patch:
            for name in ("fullmatch", "match", "search", "compile"):
                patch.setattr(peft_method.re, name, never)
            methods.get("lora").recognise(config, shape)

    with pytest.raises(ArgumentError, match="write the names, not a pattern"):
        recognise()


@pytest.mark.parametrize("setting", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_of_ranks_is_refused(setting):
    with pytest.raises(ArgumentError, match=setting):
        methods.get("lora").recognise(peft_config(**{setting: {"(a+)+$": 8}}), backbones.shape_of("minilm"))


def test_the_programs_own_pattern_is_understood():
    shape = backbones.shape_of("minilm")
    names = ["query", "attention_output", "output"]
    pattern = peft_method.target_pattern(backbones.FAMILIES["bert"], names)
    assert methods.get("lora").recognise(peft_config(target_modules=pattern), shape)["target_modules"] == names


def _adapter(family: str, method: str, saved) -> tuple[Setup, Path]:
    return next((s, f) for m, s, f in saved if m.name == method and s.backbone.shape.family == family)


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_an_adapter_from_elsewhere_is_checked_before_it_is_queued_and_when_it_is_taken(method, family, saved, tmp_path):
    import torch

    known, (setup, folder) = methods.get(method), _adapter(family, method, saved)
    source, shape = tmp_path / "source", setup.backbone.shape
    shutil.copytree(folder, source)
    known.check_source(source, shape, setup.options)
    (tmp_path / "model").mkdir()
    known.adopt(source, tmp_path / "model", setup, ("b", "a", "c"))
    known.check(tmp_path / "model", setup)
    inputs = {"input_ids": torch.arange(4, 12)[None]}
    with torch.inference_mode():
        before, after = (known.open(path, setup)(**inputs).logits for path in (folder, tmp_path / "model"))
    torch.testing.assert_close(before[:, [1, 0, 2]], after)
    for file in sorted(source.glob("*.safetensors")):
        plain = load_file(file)
        for spoil, reason in SPOILT.items():
            values = {name: value.copy() for name, value in plain.items()}
            spoil(values)
            save_file(values, file)
            for check in (
                lambda: known.check_source(source, shape, setup.options),
                lambda: known.adopt(source, tmp_path / "model", setup, ()),
            ):
                with pytest.raises(UserError, match=f"{reason}|classification head|: int8|: float64") as caught:
                    check()
                assert "\n" not in str(caught.value)
        save_file(plain, file)


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_pickle_of_tensors_is_checked_like_any_weights(method, saved, tmp_path):
    import torch

    known, (setup, folder) = methods.get(method), _adapter("bert", method, saved)
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    names = {"adapter_model": "adapter_model", "adapter": "pytorch_adapter", "model_head": "pytorch_model_head"}
    plain = {file: load_file(file) for file in source.glob("*.safetensors")}
    for file, values in plain.items():
        torch.save({name: torch.tensor(value) for name, value in values.items()}, source / f"{names[file.stem]}.bin")
        file.unlink()
    (tmp_path / "model").mkdir()
    known.adopt(source, tmp_path / "model", setup, ())
    known.check(tmp_path / "model", setup)
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    for file, values in plain.items():
        for spoil, reason in SPOILT.items():
            spoilt = {name: value.copy() for name, value in values.items()}
            spoil(spoilt)
            torch.save(
                {name: torch.tensor(value) for name, value in spoilt.items()}, source / f"{names[file.stem]}.bin"
            )
            with pytest.raises(UserError, match=f"{reason}|classification head|: int8|: float64"):
                known.adopt(source, tmp_path / "model", setup, ())
        torch.save({"a": [1]}, source / f"{names[file.stem]}.bin")
        with pytest.raises(UserError, match="with tensors alone"):
            known.adopt(source, tmp_path / "model", setup, ())
        torch.save({name: torch.tensor(value) for name, value in values.items()}, source / f"{names[file.stem]}.bin")


def test_a_pickle_that_is_no_tensors_in_memory_is_refused_in_a_sentence(tmp_path):
    import torch

    path = tmp_path / "x.bin"
    for tensor in (
        torch.ones(2, 2, device="meta"),
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ):
        torch.save({"a": tensor}, path)
        with pytest.raises(UserError, match="with tensors alone"):
            foreign.read(tmp_path, "x.safetensors", path.name)
    # Of an unpickler come errors of any kind.
    for data in (
        b"",
        b"\x80\x02",
        b"\x80\x02]q\x00(K\x01a",
        b"\x80\x02h\xff.",
        b"\x80\x02.",
        b"(dp0\nS'a'\n.",
        b"PK\3\4" + bytes(50),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match="with tensors alone"):
            foreign.read(tmp_path, "x.safetensors", path.name)


def test_a_rank_of_ten_millions_is_refused_at_once(own_store, tiny_backbone, tiny_file, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)
    since = time.process_time()
    for given in (
        {"r": 10_000_000},
        {"rank_pattern": {f"layer.{i}": 10**6 for i in range(1000)}},
        {"r": "16"},
        {"r": None},
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps(peft_config(**given)))
        with pytest.raises(UserError):
            adoption.adopt(own_store, str(tmp_path), task=str(tiny_file), backbone=str(tiny_backbone))
    (tmp_path / "adapter_config.json").write_text(json.dumps(hub_config(reduction_factor=1e-9) | {"name": "x"}))
    with pytest.raises(UserError):
        adoption.adopt(own_store, str(tmp_path), task=str(tiny_file), backbone=str(tiny_backbone))
    assert own_store.list() == []
    assert time.process_time() - since < 10


@pytest.mark.parametrize(
    "given",
    [
        {"num_labels": 10**9}, {"layers": 10**6}, {"head_type": "tagging"}, {"activation_function": "os.system"},
        {"id2label": {}}, {"surprise": 1}, {"static": True}, {"label2id": {"a": "0"}}, {"layers": 2}, {"bias": False},
        {"label2id": {"c": 0, "b": 1, "a": 2}}, {"label2id": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_head_that_is_not_the_runs_is_refused(given, saved, tmp_path):
    setup, folder = _adapter("bert", "adapter", saved)
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "head_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"config": content["config"] | given}))
    with pytest.raises(UserError):
        methods.get("adapter").check(tmp_path / "model", setup)


def test_a_fusion_with_another_arithmetic_or_other_parents_is_refused(saved, tmp_path):
    setup, folder = _adapter("bert", "adapter_fusion", saved)
    for given in ({"query_before_ln": True}, {"value": False}, {"temperature": True}, {"surprise": 1}):
        shutil.copytree(folder, tmp_path / "model")
        path = tmp_path / "model" / "fusion" / "adapter_fusion_config.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"config": content["config"] | given}))
        with pytest.raises(UserError):
            methods.get("adapter_fusion").check(tmp_path / "model", setup)
        shutil.rmtree(tmp_path / "model")
    shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "adapters" / "one")
    with pytest.raises(UserError, match="one, two in adapters, got two"):
        methods.get("adapter_fusion").check(tmp_path / "model", setup)


def test_a_parent_is_checked_before_it_is_fused(saved, tmp_path):
    setup, folder = _adapter("bert", "adapter_fusion", saved)
    lent = folder.parent / "one"
    for change, reason in (({"config": {"reduction_factor": 10**9}}, "reduction_factor"), ({"name": "two"}, "two")):
        parent = tmp_path / reason
        shutil.copytree(lent, parent)
        content = json.loads((parent / "adapter_config.json").read_text())
        (parent / "adapter_config.json").write_text(json.dumps(content | change))
        parents = (Parent("one", "one", parent), setup.parents[1])
        with pytest.raises(UserError, match=reason):
            methods.get("adapter_fusion").build(replace(setup, parents=parents))


# Runs from zip files


def bundled(method: str, folder: Path) -> Path:
    """A copy of a run that comes with the program."""
    source = BUNDLED / f"{method}-movies-minilm-s0-bundled"
    copy = folder / source.name
    shutil.copytree(source, copy)
    return copy


def zipped(folder: Path) -> Path:
    path = folder.parent / "run.zip"
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(folder.rglob("*")):
            if source.is_file():
                file.write(source, f"{folder.name}/{source.relative_to(folder).as_posix()}")
    return path


@pytest.mark.parametrize("method", ["full", "lora", "qlora", "adapter", "adapter_fusion"])
def test_runs_that_come_with_the_program_may_enter(method, own_store, tmp_path):
    folder = bundled(method, tmp_path)
    if method != "full":  # it has no weights
        (folder / "model" / "surprise.json").write_text("{}")
    run = archive.load(own_store, zipped(folder))
    assert run.can_predict == (method != "full")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    there = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert there == names - {"model/surprise.json"}
    assert not list(own_store.root.glob(".loading*"))


def _reverse(values):
    for name in values:
        if name.startswith("heads.") or ".classifier." in name:
            values[name] = values[name][::-1].copy()


@pytest.mark.parametrize(
    ("method", "file", "spoil", "reason"),
    [
        ("lora", "adapter_model", _reverse, "a model that predicts what .* stored"),
        ("adapter", "model_head", _reverse, "a model that predicts what .* stored"),
        ("lora", "adapter_model", _nan, "NaN or infinity"),
        ("qlora", "adapter_model", _byte, ": I8"),
        ("adapter", "adapter", _half, ", got none;"),
        ("adapter_fusion", "fusion/model_adapter_fusion", _missing, ", got none;"),
        ("adapter_fusion", "adapters/news/adapter", _wide, r"\] in .*, got \["),
    ],
)
def test_a_run_with_other_weights_than_its_own_is_refused(method, file, spoil, reason, own_store, tmp_path):
    folder = bundled(method, tmp_path)
    path = folder / "model" / f"{file}.safetensors"
    values = load_file(path)
    spoil(values)
    save_file(values, path)
    with pytest.raises(UserError, match=reason) as caught:
        archive.load(own_store, zipped(folder))
    assert "\n" not in str(caught.value)
    assert own_store.list() == []
    assert not own_store.root.exists() or not [path for path in own_store.root.iterdir() if path.is_dir()]
    assert folder.name in archive.load_folder(own_store, folder)[1][0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model/adapter_config.json", {"target_modules": "(([a-z.0-9_])+)+[A-Z]"}),
        ("model/adapter_config.json", {"r": 10_000_000}),
        ("model/adapter_config.json", {"lora_alpha": 64.0}),
        ("model/adapter_config.json", {"rank_pattern": {"(a+)+$": 8}}),
        ("model/adapter_config.json", {"megatron_config": {"a": 1}}),
        ("model/adapter_config.json", {"auto_map": "x"}),
        ("model/adapter_config.json", {"peft_type": "XLORA"}),
        ("run.json", {"schema_version": None}),
    ],
    ids=str,
)
def test_a_run_with_a_hostile_configuration_is_refused_at_once(name, change, own_store, tmp_path):
    folder = bundled("lora", tmp_path)
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    since = time.process_time()
    with pytest.raises(UserError):
        archive.load(own_store, zipped(folder))
    assert time.process_time() - since < 10
    assert own_store.list() == []


def test_a_full_models_configuration_is_rebuilt_and_its_labels_are_the_runs(saved, tmp_path):
    method, setup, source = next(made for made in saved if made[0].name == "full")
    for change, reason in (
        ({"id2label": {"0": "c", "1": "b", "2": "a"}}, "a, b, c in config"),
        ({"num_hidden_layers": 3}, "layers=3"),
        ({"_attn_implementation": "owner/kernel"}, "_attn_implementation"),
        ({"auto_map": {"AutoModel": "x--y.Z"}}, "auto_map"),
        ({"num_attention_heads": 4}, "num_attention_heads=2"),
        ({"hidden_act": "relu"}, 'hidden_act="gelu"'),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps=1e-12"),
        ({"pad_token_id": 1}, "pad_token_id=0"),
    ):
        folder = tmp_path / "model"
        shutil.copytree(source, folder)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        for use in (method.check, method.open):
            with pytest.raises(UserError, match=reason):
                use(folder, setup)
        shutil.rmtree(folder)
    shutil.copytree(source, folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/other"}')
    with pytest.raises(UserError, match="got adapter_config"):
        method.open(folder, setup)


def _half_of_the_table(folder: Path) -> None:
    table = pd.read_parquet(folder / "predictions.parquet")
    table.iloc[: len(table) // 2].to_parquet(folder / "predictions.parquet", index=False)


def _in_run_json(change):
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        change(content, content["result"])
        (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")

    return spoil


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_in_run_json(lambda _, of: of["meta_info"]["dataset_info"]["label_names"].reverse()),
         "label_names as the run's task and predictions have it, negative, positive"),
        (_in_run_json(lambda _, of: of["test"].update(accuracy=0.99)), "test.accuracy as the run's"),
        (_in_run_json(lambda _, of: of["test"].update(confusion_matrix=[[1, 1], [1, 1]])), "confusion_matrix as the"),
        (_in_run_json(lambda content, _: content.update(label="a" * 1001)), "at most 1000 characters"),
        (_half_of_the_table, "sizes.test as the run's task and predictions have it"),
    ],
    ids=["reversed labels", "accuracy", "confusion matrix", "label", "half of the predictions"],
)  # fmt: skip
def test_a_run_whose_figures_are_not_those_of_its_predictions_is_refused(spoil, reason, method, own_store, tmp_path):
    """Of a run without weights too: what it says is compared with others."""
    folder = bundled(method, tmp_path)
    spoil(folder)
    with pytest.raises(UserError, match=re.escape(reason)):
        archive.load(own_store, zipped(folder))
    loaded, (left_out,) = archive.load_folder(own_store, folder)
    assert reason in left_out
    assert loaded == own_store.list() == []


def test_a_name_that_is_given_here_has_a_length(own_store):
    recipe = recipes.make(method="lora", task="movies", backbone="minilm")
    run = own_store.create(recipe, label="a" * 200)
    for give in (lambda: own_store.create(recipe, label="a" * 201), lambda: own_store.update(run.id, label="a" * 201)):
        with pytest.raises(ArgumentError, match="at most 200 characters, got 201"):
            give()
    assert [one.label for one in own_store.list()] == ["a" * 200]


def test_what_needs_a_backbone_that_is_not_here_is_checked_at_the_first_prediction(own_store, tmp_path, monkeypatch):
    folder = bundled("adapter", tmp_path)
    path = folder / "model" / "model_head.safetensors"
    values = load_file(path)
    _reverse(values)
    save_file(values, path)

    def away(name, *, download=True):
        raise Unreachable(expected=name, got="none", fix="connect")

    with monkeypatch.context() as patch:
        patch.setattr(backbones, "locate", away)
        run = archive.load(own_store, zipped(folder))
    assert (run.folder / entry.UNCHECKED).exists()
    for _ in range(2):
        with pytest.raises(UserError, match="a model that predicts what"):
            Predictor(own_store).predict_one("a warm film", run)
    shutil.copyfile(BUNDLED / run.id / "model" / "model_head.safetensors", run.model_folder / "model_head.safetensors")
    Predictor(own_store).predict_one("a warm film", run)
    assert not (run.folder / entry.UNCHECKED).exists()


def test_a_zip_file_is_bounded_while_it_is_unpacked(own_store, tmp_path, monkeypatch):
    path, name = tmp_path / "big.zip", "lora-movies-minilm-s0-12345678"

    def written(count: int, size: int = 10) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for number in range(count):
                file.writestr(f"{name}/model/{number}.json", bytes(size))

    def refused(reason: str) -> None:
        since = time.process_time()
        with pytest.raises(ArgumentError, match=reason):
            archive.load(own_store, path)
        assert time.process_time() - since < 10
        assert not own_store.root.exists() or not list(own_store.root.iterdir())

    written(archive.MAX_ENTRIES + 1)
    refused("at most 512 MB and 5000 files")
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    written(3, 1 << 19)
    refused("at most 1 MB")
    # A header that says less than there is: zipfile stops there, and the checksum does not fit.
    data = bytearray(path.read_bytes())
    size = struct.pack("<I", 1 << 19)
    path.write_bytes(bytes(data).replace(size, struct.pack("<I", 10)))
    refused("zip file that `export` wrote")
    # A directory of gigabytes, by the 32-bit and by the 64-bit record.
    end = data.rfind(b"PK\5\6")
    path.write_bytes(bytes(data[: end + 12] + struct.pack("<I", 0xF0000000) + data[end + 16 :]))
    refused("at most 1 MB")
    path.write_bytes(bytes(data[:end] + b"PK\6\7" + bytes(16) + data[end:]))
    refused("at most 1 MB")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}/run.json", "{}")
        file.writestr(f"{name}/RUN.json", "{}")
    refused("with 2 x")
    for damage in (b"", b"PK", b"PK\5\6", os.urandom(1000), bytes(data[: len(data) // 2])):
        path.write_bytes(damage)
        refused("zip file that `export` wrote")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_whole_is_refused(compression, own_store, tmp_path):
    name = "lora-movies-minilm-s0-12345678"
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as file:
        file.writestr(f"{name}/run.json", "{}")
        file.writestr(f"{name}/log.txt", bytes(1 << 20), compress_type=compression)
    with pytest.raises(ArgumentError, match=r"log\.txt \((bzip2|lzma)\)"):
        archive.load(own_store, tmp_path / "run.zip")
    assert not own_store.root.exists() or not list(own_store.root.iterdir())


@pytest.mark.parametrize(
    "end",
    [
        struct.pack("<IIL", 0, 0, 0xF0000000) + b"PK\5\6" + bytes(2),
        b"PK\5\6" + bytes(4) + struct.pack("<II", 0xF0000000, 0) + bytes(2),
        struct.pack("<IIII", 0, 0, 0xF0000000, 0) + b"\7\0comment",
    ],
    ids=["in the offset", "in the counts", "before a comment"],
)
def test_the_size_of_a_zip_files_directory_is_read_where_zipfile_reads_it(end, tmp_path):
    path = tmp_path / "run.zip"
    path.write_bytes(bytes(500) + b"PK\5\6" + end)
    with pytest.raises(ArgumentError, match="at most 512 MB"):
        archive._require_small_directory(path)


def test_a_run_whose_epoch_diverged_may_enter(own_store, tmp_path):
    folder = bundled("full", tmp_path)
    content = own_store.prepared(folder).as_json()
    content["result"]["test"]["loss"] = float("nan")
    content["result"]["train_info"]["metrics"][0]["train_loss"] = float("inf")
    (folder / "run.json").write_text(json.dumps({k: v for k, v in content.items() if k not in ("id", "folder")}))
    assert np.isnan(archive.load(own_store, zipped(folder)).result.test.loss)


def test_weights_without_predictions_do_not_enter(own_store, tmp_path):
    folder = bundled("lora", tmp_path)
    (folder / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"predictions\.parquet, got none"):
        archive.load(own_store, zipped(folder))
    assert own_store._parsed == own_store._broken == {}
    assert own_store.list() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.assign(label=99), "damaged one: predictions"),
        (lambda rows: rows[rows["split"] == "validation"], "got a damaged one"),
        (lambda rows: rows.drop(columns="text"), "damaged one: predictions"),
    ],
    ids=["a label outside", "no test split", "no text"],
)
def test_a_sample_needs_a_whole_table(change, reason, own_store, tmp_path):
    folder = bundled("lora", tmp_path)
    change(pd.read_parquet(folder / "predictions.parquet")).to_parquet(folder / "predictions.parquet", index=False)
    with pytest.raises(UserError, match=reason):
        entry.sample(own_store.prepared(folder))


def test_a_sample_is_spread_over_the_test_split(own_store, tmp_path):
    folder = bundled("lora", tmp_path)
    rows = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    texts, stored = entry.sample(own_store.prepared(folder))
    expected = rows.iloc[[index * len(rows) // entry.SAMPLE for index in range(entry.SAMPLE)]]
    assert texts == list(expected["text"])
    assert np.array_equal(stored, np.stack(list(expected["probabilities"])))


def test_what_a_killed_load_leaves_is_removed_when_it_is_old(own_store):
    for name, age in ((".loading-old-x1", 2 * leftovers.SECONDS_NEW), (".loading-new-x2", 0.0)):
        (own_store.root / name / "run").mkdir(parents=True)
        os.utime(own_store.root / name, (time.time() - age,) * 2)
    leftovers.remove_of_store(own_store)
    assert [path.name for path in own_store.root.iterdir()] == [".loading-new-x2"]


def test_loads_do_not_share_a_folder_and_one_is_first(own_store, tmp_path, monkeypatch):
    folder = bundled("full", tmp_path)
    path, folders = zipped(folder), []
    adopt = own_store.adopt

    def twice(prepared: Path, run_id: str):
        folders.append(prepared)
        if len(folders) == 1:
            archive.load(own_store, path)
        return adopt(prepared, run_id)

    monkeypatch.setattr(own_store, "adopt", twice)
    with pytest.raises(ArgumentError, match="a run that is not in the store"):
        archive.load(own_store, path)
    assert len(set(folders)) == 2
    assert [run.id for run in own_store.list()] == [folder.name]
    assert not list(own_store.root.glob(".loading*"))


@pytest.mark.parametrize(
    ("error", "enters"),
    [(OSError("no valid metadata"), "a run with its weights"), (OSError(5, "Input/output error"), "Input/output")],
)
def test_one_bad_run_of_a_folder_is_left_out_and_the_others_enter(error, enters, own_store, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    names = [bundled(name, tmp_path / "runs").name for name in ("adapter", "lora", "full")]

    def admit(run):
        if run.id == names[0]:
            raise error

    monkeypatch.setattr(entry, "admit", admit)
    loaded, left_out = archive.load_folder(own_store, tmp_path / "runs")
    assert sorted(run.id for run in loaded) == sorted(names[1:])
    assert len(left_out) == 1
    assert left_out[0].startswith(names[0])
    assert enters in left_out[0]


def test_a_model_is_built_alone_and_a_device_without_four_bits_leaves_it_for_later(own_store, tmp_path, monkeypatch):
    locked = []
    monkeypatch.setattr(entry, "finish", lambda run, setup: locked.append((run.recipe.method, BUILDING.locked())))
    monkeypatch.setattr(entry, "detect", lambda: Device("mps", "a GPU", 1 << 30, ("fp32",)))
    for method in ("lora", "qlora"):
        run = archive.load(own_store, zipped(bundled(method, tmp_path)))
        assert (run.folder / entry.UNCHECKED).exists() == (method == "qlora")
    assert locked == [("lora", True)]
    assert not BUILDING.locked()


# Tables of predictions


def _table(texts: list[str], rows: list[list[float]]) -> pd.DataFrame:
    columns = {"split": "test", "row": range(len(texts)), "label": 0, "predicted": 0}
    return pd.DataFrame(columns | {"text": texts, "probabilities": rows})


@pytest.mark.parametrize(
    ("table", "is_read"),
    [
        (_table(["a", "é", "", "a"] * 50, [[0.25, 0.75]] * 200), True),
        (_table([f"text {i}" for i in range(200)], [[0.25, 0.75]] * 200), True),
        (_table(["a" * 2000] * 2000, [[0.25, 0.75]] * 2000), False),
        (_table([f"{i % 7}" + "a" * 1000 for i in range(5000)], [[0.25, 0.75]] * 5000), False),
        (_table(["a"] * 200, [[0.001] * 1000] * 200), False),
        (_table(["a"] * 2000, [[0.5, 0.5]] * 2000).assign(split="test" * 500), False),
        (_table(["a"] * 2000, [[0.5, 0.5]] * 2000).assign(group="g" * 2000), False),
    ],
)
def test_a_table_is_bounded_by_what_it_decodes_to(table, is_read, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_BYTES", 1 << 20)
    table.to_parquet(tmp_path / "predictions.parquet", index=False)
    assert (tmp_path / "predictions.parquet").stat().st_size < 1 << 18
    if is_read:
        pd.testing.assert_frame_equal(predictions.read(tmp_path / "predictions.parquet", None), table)
        return
    with pytest.raises(Damaged, match="large"):
        predictions.read(tmp_path / "predictions.parquet", None)


def test_a_hidden_file_of_an_older_export_is_left_out(own_store, tmp_path):
    folder = bundled("full", tmp_path)
    (folder / ".model").mkdir()
    (folder / ".model" / "config.json").write_text("{}")
    run = archive.load(own_store, zipped(folder))
    assert not (run.folder / ".model").exists()
    with zipfile.ZipFile(archive.export(own_store, run.id, tmp_path / "again.zip")) as file:
        assert not [name for name in file.namelist() if "/." in name]


# Models that are slow to open


def test_openings_are_shared_and_end_in_a_sentence():
    openings, go, opened = Openings(seconds=0.05), threading.Event(), []

    def make():
        go.wait(30)
        opened.append(1)
        return "a model"

    for _ in range(3):
        with pytest.raises(StillOpening, match=r"Expected a run to open within 0\.05 seconds"):
            openings.wait("key", "a run", make)
    go.set()
    openings.seconds = 30
    assert openings.wait("key", "a run", make) == "a model"
    with pytest.raises(ZeroDivisionError):
        openings.wait("key", "a run", lambda: 1 / 0)
    assert len(opened) <= 2


def test_the_seconds_of_the_sentence_are_those_waited_and_a_late_model_is_returned(monkeypatch):
    openings, go = Openings(seconds=30), threading.Event()
    with pytest.raises(StillOpening, match=r"within 0\.01 seconds"):
        openings.wait("key", "a run", lambda: go.wait(30), seconds=0.01)
    go.set()

    class Late(Future):
        """Done between the end of the wait and the look at it."""

        def result(self, timeout=None):
            value = super().result()
            if timeout is not None:
                raise TimeoutError
            return value

    monkeypatch.setattr(opening, "Future", Late)
    assert openings.wait("other", "a run", lambda: "a model") == "a model"


def test_a_backbone_in_memory_does_not_wait_for_models_that_are_built(own_store, monkeypatch):
    recipe = SimpleNamespace(max_length=8, truncation="head")
    run = SimpleNamespace(label_names=LABELS, recipe=recipe, has_pairs=False, multi_label=False)
    setup = SimpleNamespace(backbone=SimpleNamespace(sha256=lambda: "hash"))
    monkeypatch.setattr(serving, "open_setup", lambda run, device: setup)
    predictor = Predictor(own_store, seconds=0.01)
    predictor._device = CPU
    predictor._untrained["hash", LABELS, 8, "head", False, False] = "a model"
    with BUILDING:
        assert predictor._open_untrained(run, "a backbone") == "a model"


def test_a_weight_that_is_freed_while_it_is_looked_up_is_no_candidate():
    pool, states = Pool(), iter([object(), None])
    pool._weights["key",] = [lambda: next(states, None), lambda: None]
    assert None not in pool._candidates(("key",))
    assert len(pool._weights["key",]) == 1


def test_a_run_that_does_not_open_delays_no_other_prediction(own_store, tmp_path, monkeypatch):
    slow, fast = (
        archive.load_folder(own_store, bundled(name, tmp_path), checked=False)[0][0] for name in ("lora", "adapter")
    )
    go = threading.Event()
    opens = peft_method.PeftMethod.open
    monkeypatch.setattr(peft_method.PeftMethod, "open", lambda *given: go.wait(60) and opens(*given))
    predictor = Predictor(own_store)
    before = predictor.predict_one("a warm film", fast)
    waiting = threading.Thread(target=predictor.predict_each, args=("a warm film", [slow]))
    waiting.start()
    while not BUILDING.locked():
        time.sleep(0.01)
    assert predictor.predict_one("a warm film", fast).probabilities == before.probabilities
    predictor._openings.seconds = 0.1
    error, other = predictor.predict_each("a warm film", [slow, fast])
    assert isinstance(error, StillOpening)
    assert "try again in a minute" in str(error)
    assert other.probabilities == before.probabilities
    go.set()
    waiting.join(60)
    assert predictor.is_loaded(slow)
    assert predictor.predict_one("a warm film", slow).predicted in slow.label_names


def test_the_tensors_by_theory_count_what_the_shape_counts():
    import math

    for backbone in backbones.BACKBONES.values():
        counted = sum(math.prod(shape) for shape in tensors.encoder(backbone.shape).values())
        assert counted == backbone.shape.encoder_parameters
        head = sum(math.prod(shape) for shape in tensors.head(backbone.shape, 5).values())
        assert head == backbone.shape.head_parameters(5)
