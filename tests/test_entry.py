"""What may enter: configurations and weights from elsewhere, zip files, and models that are slow to open."""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as varied
from hypothesis import settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from test_counts import hub_config, located, peft_config

from trainer import methods
from trainer.errors import ArgumentError, Unreachable, UserError
from trainer.jobs import adoption
from trainer.jobs import queue as jobs
from trainer.machine.device import Device, quiet_libraries
from trainer.methods import Parent, Setup, lora
from trainer.publish.bundled import BUNDLED
from trainer.runs import archive, entry, recipes
from trainer.serving.opening import Openings, StillOpening
from trainer.serving.predictor import Predictor
from trainer.sources import backbones, cleaned, configs, tensors, tokenizers, weights

LABELS = ("a", "b", "c")
CPU = Device("cpu", "a CPU", 1 << 30, ("fp32",))
SAVED = [
    ("full", {}),
    ("lora", {"r": 4, "target_modules": ["query", "intermediate", "output"]}),
    ("lora", {"r": 4, "use_dora": True, "use_rslora": True}),
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
                patch.setattr(lora.re, name, never)
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
    pattern = lora.target_pattern(backbones.FAMILIES["bert"], names)
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


def test_a_run_that_does_not_open_delays_no_other_prediction(own_store, tmp_path, monkeypatch):
    slow, fast = (
        archive.load_folder(own_store, bundled(name, tmp_path), checked=False)[0][0] for name in ("lora", "adapter")
    )
    go = threading.Event()
    opens = lora.Lora.open
    monkeypatch.setattr(lora.Lora, "open", lambda *given: go.wait(60) and opens(*given))
    predictor = Predictor(own_store)
    before = predictor.predict_one("a warm film", fast)
    waiting = threading.Thread(target=predictor.predict_each, args=("a warm film", [slow]))
    waiting.start()
    while not predictor._building.locked():
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
