"""Multi-label files: the three forms that are read, the preview, what is refused, and the loss and thresholds."""

from __future__ import annotations

import html
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import finished_run, named_view
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import ArgumentError, Cancelled
from trainer.runs import recipes
from trainer.tasks import from_config, label_sets
from trainer.tasks.own_file import FileTask

WORDS = {"good": ("warm", "funny"), "bad": ("dull", "cold"), "short": ("film", "story")}
LABELS = tuple(WORDS)


def examples(count: int, *, seed: int = 0) -> list[tuple[str, tuple[str, ...]]]:
    """Different sentences whose words say which labels they have, with the labels in alphabetical order."""
    rng, made = random.Random(seed), {}
    while len(made) < count:
        own = tuple(sorted(label for label in LABELS if rng.random() < 0.45))
        words = [rng.choice(WORDS[label]) for label in own] + rng.choices(("the", "is", "and"), k=rng.randint(2, 8))
        rng.shuffle(words)
        made.setdefault(" ".join(words), own)
    return list(made.items())


def write_three(folder: Path, rows: list[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[Path, dict]]:
    """The same sentences in the three forms: form -> (file, how it is declared)."""
    forms = {
        "cells": (folder / "cells.csv", {"several_labels": True}),
        "lists": (folder / "lists.jsonl", {"several_labels": True}),
        "columns": (folder / "columns.csv", {"label_columns": tuple(sorted(LABELS))}),
    }
    joined = [(text, "|".join(own)) for text, own in rows]
    pd.DataFrame(joined, columns=["text", "labels"]).to_csv(forms["cells"][0], index=False)
    lists = "".join(json.dumps({"text": text, "labels": own}) + "\n" for text, own in rows)
    forms["lists"][0].write_text(lists, encoding="utf-8")
    marks = [{"text": text} | {label: int(label in own) for label in sorted(LABELS)} for text, own in rows]
    pd.DataFrame(marks).to_csv(forms["columns"][0], index=False)
    return forms


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    return write_three(tmp_path_factory.mktemp("forms"), examples(160))


def test_the_three_forms_are_the_same_task(forms):
    tasks = {form: FileTask(str(path), **how).load(0) for form, (path, how) in forms.items()}
    assert {data.label_names for data in tasks.values()} == {("bad", "good", "short")}
    assert len({data.fingerprint for data in tasks.values()}) == 1
    data = tasks["cells"]
    assert data.multi_label
    own = dict(examples(160))
    for split in (data.train, data.validation, data.test):
        for text, label in zip(split.texts, split.labels, strict=True):
            assert tuple(data.label_names[index] for index in label) == own[text]
        assert set(split.counts) == {0, 1, 2}
    assert any(note.endswith("sentences have no label") for note in data.notes)
    assert FileTask(str(forms["cells"][0]), several_labels=True).load(1).fingerprint != data.fingerprint


def test_the_preview_recognises_them_and_shows_what_training_sees(forms):
    from trainer.ui.train import file as train_file

    view = named_view(train_file.View)
    for form, (path, how) in forms.items():
        changes = train_file.open_file(view, str(path), None, None)
        recognised = {
            "several_labels": changes["several"]["value"], "label_columns": tuple(changes["label_columns"]["value"]),
        }  # fmt: skip
        assert {name: value for name, value in recognised.items() if value} == how, form
        preview = html.unescape(changes["preview"])
        usable = FileTask(str(path), **how).usable()
        for index, name in enumerate(usable.label_names):
            assert f"{name}: {usable.sentences.counts[index]}" in preview
        assert "Read as several labels a sentence" in preview
        assert all(("|".join(own) or "no label") in preview for _, own in examples(160)[:5])
    path = str(forms["columns"][0])
    one = train_file.choose_label(view, path, "text", "good", "", "", "", False, ["good", "bad"])
    assert one["label_columns"] == []
    assert "2 labels (0:" in one["preview"]
    both = train_file.choose_label_columns(view, path, "text", "good", "", "", "", False, ["good", "bad"])
    assert both["label"] is None
    assert "Read as several labels" in both["preview"]


def test_a_label_column_with_empty_cells_and_a_second_file_go_nowhere_unseen(tmp_path):
    """A column that is 0, 1 or empty is named; the columns of an earlier file choose no part of the next one's."""
    from trainer.ui.train import file as train_file

    view, columns = named_view(train_file.View), ["billing", "bug", "praise"]
    sets = [[str(int(index % 3 == own)) for own in range(3)] for index in range(60)]
    for name, empty in (("whole", ""), ("gaps", "bug")):
        rows = [dict(zip(columns, own, strict=True)) | {"text": f"a text {chr(97 + i % 26) * (i + 1)}"} for i, own in
                enumerate(sets)]  # fmt: skip
        for row in rows[::5] if empty else []:
            row[empty] = ""
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    gaps = train_file.open_file(view, str(tmp_path / "gaps.csv"), None, None)
    assert gaps["label_columns"]["value"] == columns
    assert "0 or 1 in each cell of the label column &#39;bug&#39;" in gaps["preview"]
    earlier = ["billing issue", "praise"]
    second = train_file.open_file(view, str(tmp_path / "whole.csv"), None, None, label_columns=earlier)
    assert second["label_columns"]["value"] == columns
    kept = train_file.open_file(view, str(tmp_path / "whole.csv"), None, None, label_columns=["billing", "bug"])
    assert kept["label_columns"]["value"] == ["billing", "bug"]


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (["a", "b", "a,b"], "a,b"),
        (["a", "b", "b; a"], "b; a"),
        (["a", "b", "a/b"], "a/b"),
        (["bug, crash", "praise"], None),
        (["a", "a,c"], None),
        (["", ","], None),
    ],
)
def test_a_label_that_seems_to_be_several_is_named(names, joined, tmp_path):
    from trainer.ui.train.preview import preview_html

    assert label_sets.looks_joined(names) == joined
    if joined:
        rows = [{"text": f"a text {chr(97 + i)} {'x' * i}", "label": names[i % len(names)]} for i in range(60)]
        pd.DataFrame(rows).to_csv(tmp_path / "file.csv", index=False)
        shown = html.unescape(preview_html(str(tmp_path / "file.csv"), "text", "label"))
        assert f"{joined!r} may stand for several labels" in shown


NAMES = st.text("abc de,;'\"é", min_size=1, max_size=6).map(lambda name: " ".join(name.split())).filter(bool)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.frozensets(NAMES, max_size=4), min_size=1, max_size=8))
def test_labels_that_are_written_are_read_again(tmp_path_factory, sets):
    """As `predict --out` writes them, for `--several-labels` to read."""
    from trainer.serving import files

    path = tmp_path_factory.mktemp("written") / "out.csv"
    rows = [label_sets.joined(sorted(own)) for own in sets]
    files.write(pd.DataFrame({"text": [f"sentence {i}" for i in range(len(rows))], "run": rows}), path)
    task = FileTask(str(path), "text", "run", several_labels=True)
    assert task.labels(files.read(path), path) == [tuple(sorted(own)) for own in sets]


def table(folder: Path, rows: list[dict], *, name: str = "file.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / name)


TEXTS = [f"{'x' * (i % 9 + 1)} {'y' * (i // 9 + 1)}" for i in range(40)]


@pytest.mark.parametrize(
    ("cells", "how", "problem"),
    [
        (
            ["a|b", "a", "b"],
            {},
            r"one label in each cell of 'label', got several \(a\|b\); tick Several labels",
        ),
        ([["a", "b"], ["a"], ["b"]], {}, r"got several \(a, b\); tick Several labels"),
        (["a|", "a", "b"], {"several_labels": True}, r"got 'a\|' in row 1; take out the \|"),
        ([["a|b"], ["a"], ["b"]], {"several_labels": True}, r"labels without the sign \|.*got 'a\|b' in row 1"),
        ([["a", None], ["a"], ["b"]], {"several_labels": True}, "a name for each label in 'label'"),
    ],
)
def test_cells_that_cannot_be_read_are_refused(tmp_path, cells, how, problem):
    path = table(tmp_path, [{"text": text, "label": cells[i % 3]} for i, text in enumerate(TEXTS)])
    with pytest.raises(ArgumentError, match=problem):
        FileTask(path, **how).usable()


def test_label_columns_that_cannot_be_read_are_refused(tmp_path):
    rows = [{"text": text, "a": i % 2, "b": i // 2 % 2} for i, text in enumerate(TEXTS)]
    path = table(tmp_path, rows)
    for how, problem in (
        ({}, "a column of 0 and 1 for each of a, b; choose them as label columns"),
        ({"label_columns": ("a",)}, "two or more label columns in file.jsonl, got 'a'"),
        ({"label_columns": ("a", "c")}, "got 'c' among text, a, b"),
        ({"label_columns": ("a", "text")}, "neither the text nor the group column, got 'text'"),
        ({"label_columns": ("a", "b"), "label_column": "a"}, "a label column, or label columns of 0 and 1, got both"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            FileTask(path, **how).usable()
    for value, shown in ((2, "'2'"), (None, "''"), ("yes", "'yes'")):
        wrong = table(tmp_path, [rows[0], rows[1] | {"b": value}, *rows[2:]], name=f"{value}.jsonl")
        with pytest.raises(ArgumentError, match=f"0 or 1 in each cell of the label column 'b', got {shown} in row 2"):
            FileTask(wrong, label_columns=("a", "b")).usable()
    empty = table(tmp_path, [*rows, {"text": "nothing known"}], name="empty.jsonl")
    assert "1 rows without a text or a label were left out" in FileTask(empty, label_columns=("a", "b")).usable().notes
    rare = table(tmp_path, [row | {"b": int(i < 3)} for i, row in enumerate(rows)], name="rare.jsonl")
    with pytest.raises(ArgumentError, match="got 3 for 'b'"):
        FileTask(rare, label_columns=("a", "b")).usable()


def test_a_single_label_may_have_the_sign_in_its_name(tmp_path):
    path = table(tmp_path, [{"text": text, "label": ("news|sport", "other")[i % 2]} for i, text in enumerate(TEXTS)])
    data = FileTask(path).load(0)
    assert data.label_names == ("news|sport", "other")
    assert not data.multi_label
    assert all(isinstance(label, int) for label in data.train.labels)


def test_a_repeat_with_other_labels_is_left_out(tmp_path):
    rows = [{"text": text, "label": ["a", "b"] if i % 2 else ["a"]} for i, text in enumerate(TEXTS)]
    path = table(
        tmp_path, [*rows, {"text": f"{TEXTS[0]}!", "label": ["b"]}, {"text": f"{TEXTS[1]}!", "label": ["b", "a"]}]
    )
    usable = FileTask(path, several_labels=True).usable()
    assert "1 sentences that came with different labels were left out" in usable.notes
    assert "2 repeated or empty sentences were left out" in usable.notes


# What training makes of them


def test_a_label_without_validation_sentences_has_the_middle_as_threshold():
    from trainer.training.multi_label import choose_thresholds

    probabilities = np.array([[0.9, 0.2], [0.4, 0.3], [0.2, 0.9]], dtype=np.float32)
    has = np.array([[True, False], [True, False], [False, False]])
    assert choose_thresholds(probabilities, has) == pytest.approx([0.3, 0.5])


def test_the_loss_is_binary_cross_entropy_with_weights_and_smoothing(forms):
    import torch

    from trainer.training.loss import loss_of, targets

    path, how = forms["cells"]
    config = recipes.make(method="lora", task=str(path), backbone="minilm", **how)
    data = from_config(config)
    logits = torch.randn(len(data.train), 3, generator=torch.Generator().manual_seed(0))
    has = torch.tensor(targets(data))
    output, batch = type("Output", (), {"logits": logits}), {"labels": has}
    log_yes, log_no = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)

    def loss(**changes):
        return loss_of(config.model_copy(update=changes), data)(output, batch)

    assert torch.allclose(loss(), -(has * log_yes + (1 - has) * log_no).mean())
    weights = (len(has) - has.sum(0)) / has.sum(0)
    assert torch.allclose(loss(class_weights="balanced"), -(weights * has * log_yes + (1 - has) * log_no).mean())
    own = {"bad": 2.0, "good": 1.0, "short": 0.5}
    two = torch.tensor([2.0, 1.0, 0.5])
    assert torch.allclose(loss(class_weights=own), -(two * has * log_yes + (1 - has) * log_no).mean())
    smooth = has * 0.8 + 0.1
    assert torch.allclose(loss(label_smoothing=0.2), -(smooth * log_yes + (1 - smooth) * log_no).mean())
    with pytest.raises(ArgumentError, match="a number for each label"):
        loss(class_weights={"bad": 1.0, "other": 1.0})


def test_a_resumed_run_ends_as_an_unbroken_one(forms, tiny_backbone, own_store):
    from safetensors.numpy import load_file

    from trainer.events import Saved
    from trainer.training.request import Request
    from trainer.training.train import train

    path, how = forms["columns"]
    more = {"backbone": str(tiny_backbone), "epochs": 2, "batch_size": 16, "class_weights": "balanced"}
    whole = finished_run(own_store, recipes.make(method="lora", task=str(path), **how, **more))
    run, seen = own_store.create(whole.recipe), []
    request = Request(whole.recipe, run.folder, seen.append, costs=False)
    with pytest.raises(Cancelled):
        train(replace(request, should_stop=lambda: any(isinstance(event, Saved) for event in seen)))
    result = train(request)
    ends = [load_file(folder / "model" / "adapter_model.safetensors") for folder in (whole.folder, run.folder)]
    assert all(np.array_equal(values, ends[1][name]) for name, values in ends[0].items())
    assert (result.thresholds, result.test) == (whole.result.thresholds, whole.result.test)
