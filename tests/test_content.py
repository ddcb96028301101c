"""What a recipe's files hold decides which runs are equal: parents taken again, estimates, `again` and `resume`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import sentences

from trainer import tasks
from trainer.config import RunConfig
from trainer.errors import UserError
from trainer.jobs import queue as jobs
from trainer.jobs import worker
from trainer.publish.bundled import BUNDLED
from trainer.runs import estimate, recipes
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.sources import backbones


@pytest.fixture
def files(tmp_path, tiny_backbone, monkeypatch) -> dict[str, Path]:
    """Field of a recipe -> a file or folder of this test's own; no worker is started."""
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)
    found = {name: tmp_path / f"{name}.csv" for name in tasks.FILES} | {"backbone": tmp_path / "encoder"}
    for seed, name in enumerate(tasks.FILES):
        rewrite(found[name], seed)
    shutil.copytree(tiny_backbone, found["backbone"])
    return found


def rewrite(path: Path, seed: int) -> None:
    """Other sentences, or other weights, under the same name."""
    if path.is_dir():
        from safetensors.torch import load_file, save_file

        weights = load_file(path / "model.safetensors")
        changed = {name: tensor + seed for name, tensor in weights.items()}
        save_file(changed, path / "model.safetensors", {"format": "pt"})
    else:
        pd.DataFrame(sentences(80, seed=seed), columns=["sentence", "label"]).to_csv(path, index=False)


def fusion(files: dict[str, Path], **given) -> RunConfig:
    named = {name: str(path) for name, path in files.items()}
    parent_tasks = (named["task"], "movies")
    return recipes.make(method="adapter_fusion", parent_tasks=parent_tasks, train_size=32, **named, **given)


def finish(store: Store, run: Run, *, recorded: bool = True) -> Run:
    """As the worker leaves a run that has finished; without the content, as an older version left it."""
    content = recipes.content(run.recipe)
    run.model_folder.mkdir()
    lineage = run.lineage.model_copy(update={"content": content if recorded else None})
    # The figures are those of a run that comes with the program; the backbone is this test's own.
    bundled_run = next(one for one in Store(BUNDLED).list() if one.recipe.method == run.recipe.method)
    result = bundled_run.result
    weights = {"sha256": backbones.locate(run.recipe.backbone).sha256()}
    model_info = result.meta_info.model_info.model_copy(update=weights)
    result = result.model_copy(update={"meta_info": result.meta_info.model_copy(update={"model_info": model_info})})
    return store.update(run.id, state="finished", lineage=lineage, result=result)


def launched_parents(store: Store, config: RunConfig) -> set[str]:
    (run,) = jobs.launch(store, [config])
    return set(run.recipe.parents)


@pytest.mark.parametrize("state", ["queued", "finished"])
def test_a_parent_on_unchanged_files_is_taken_again(state, files, own_store):
    config = fusion(files)
    before = launched_parents(own_store, config)
    for name in before if state == "finished" else ():
        finish(own_store, own_store.load(name))
    assert launched_parents(own_store, config) == before
    if state == "finished":
        assert estimate.estimate(config, earlier=own_store.list()).parents_seconds == 0


@pytest.mark.parametrize("changed", [*tasks.FILES, "backbone"])
def test_a_parent_on_changed_files_is_trained_again(changed, files, own_store):
    config = fusion(files)
    before = launched_parents(own_store, config)
    for name in before:
        finish(own_store, own_store.load(name))
    rewrite(files[changed], 9)
    cost = estimate.estimate(config, earlier=own_store.list()).parents_seconds
    again = launched_parents(own_store, config)
    # The parent on the movies has another task, but the same backbone.
    assert len(again - before) == (2 if changed == "backbone" else 1)
    assert cost > 0


def test_what_waits_reads_the_files_as_they_are_when_it_begins(files, own_store):
    config = fusion(files)
    before = launched_parents(own_store, config)
    rewrite(files["task"], 9)
    assert launched_parents(own_store, config) == before


def test_a_run_that_did_not_record_its_files_is_no_parent_but_one_without_files_is(files, own_store):
    config = fusion(files)
    before = launched_parents(own_store, config)
    for name in before:
        finish(own_store, own_store.load(name), recorded=False)
    assert not launched_parents(own_store, config) & before
    plain = recipes.make(method="adapter", task="movies", backbone="minilm")
    assert recipes.identity(plain) == (plain.fingerprint(), ())


def test_a_run_on_splits_of_an_older_version_is_no_parent_and_is_not_resumed(files, own_store):
    """It may have been trained on sentences that are tested now. `movies` is split as it always was."""
    config = recipes.make(
        method="adapter_fusion", task="products", backbone=str(files["backbone"]),
        parent_tasks=("products", "news", "tweets", "movies"),
    )  # fmt: skip
    before = launched_parents(own_store, config)
    older = {name: finish(own_store, own_store.load(name)) for name in before}
    assert launched_parents(own_store, config) == before
    for run in older.values():
        content = {name: sha for name, sha in recipes.content(run.recipe).items() if name != tasks.SPLITS_VERSION}
        own_store.update(run.id, lineage=run.lineage.model_copy(update={"content": content or None}))
    assert {older[name].recipe.task for name in launched_parents(own_store, config) & before} == {"movies"}
    for run in map(own_store.load, older):
        content = recipes.content(run.recipe)
        if run.recipe.task == "movies":
            worker._check_content(run, content)
        else:
            with pytest.raises(UserError, match="the way of splitting as it was when the run began"):
                worker._check_content(run, content)


def test_again_trains_the_parents_of_a_fusion_anew_once_their_files_changed(files, own_store):
    (run,) = jobs.launch(own_store, [fusion(files)])
    for one in own_store.list():
        finish(own_store, one)
    assert jobs.retrain(own_store, run.id).recipe == run.recipe
    rewrite(files["task"], 9)
    new = jobs.retrain(own_store, run.id)
    assert len(set(new.recipe.parents) & set(run.recipe.parents)) == 1
    # Parents that a person named stay those of the recipe.
    named = fusion(files, parents=run.recipe.parents[::-1])
    (chosen,) = jobs.launch(own_store, [named])
    finish(own_store, chosen)
    assert jobs.retrain(own_store, chosen.id).recipe == chosen.recipe


def test_the_worker_records_what_it_trains_on_and_resumes_nothing_else(files, own_store):
    (run,) = jobs.launch(own_store, [recipes.make(method="lora", epochs=1, **{n: str(p) for n, p in files.items()})])
    worker._supervise(own_store, run, worker._context())
    run = own_store.load(run.id)
    assert run.state == "finished", run.error
    assert run.lineage.content == recipes.content(run.recipe)
    assert set(run.lineage.content) == set(files) | {tasks.SPLITS_VERSION}
    (run.folder / "checkpoints" / "step-1").mkdir(parents=True)
    rewrite(files["validation_file"], 9)
    for _ in range(2):  # what was recorded stays, so that the second try fails too
        own_store.update(run.id, state="queued", result=None)
        worker._supervise(own_store, run, worker._context())
        failed = own_store.load(run.id)
        assert failed.state == "failed"
        assert failed.error == (
            "Expected validation_file.csv as it was when the run began, got other content; launch a new run instead."
        )


@pytest.mark.parametrize("content", [3, [], {"task": []}, {"task": {"a": 1}}, {"task": "short"}, {}])
def test_a_record_that_is_none_spoils_nothing(content, files, own_store):
    """Such a run is left out of the list, but for the empty record, and the others are estimated from."""
    config = fusion(files)
    for name in launched_parents(own_store, config):
        path = finish(own_store, own_store.load(name)).folder / "run.json"
        changed = json.loads(path.read_text(encoding="utf-8"))
        changed["lineage"]["content"] = content
        path.write_text(json.dumps(changed), encoding="utf-8")
    assert estimate.estimate(config, earlier=own_store.list()).parents_seconds > 0


def test_parents_of_one_name_are_all_fused(files, own_store, tmp_path):
    """Files in different folders may have one name, and one file the name that another would get."""
    names = ["a.csv", "a_2.csv", "other/a.csv", "third/a.csv"]
    parents = []
    for seed, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rewrite(path, seed)
        run = own_store.create(recipes.make(method="adapter", task=str(path), backbone=str(files["backbone"])))
        parents.append(finish(own_store, run).id)
    run = own_store.create(fusion(files, parents=tuple(parents)))
    found, results = worker._ready_parents(own_store, run)
    assert [parent.run_id for parent in found] == parents
    assert len({parent.name for parent in found}) == len(results) == len(names)


def test_parents_on_other_weights_of_the_backbone_are_refused(files, own_store):
    runs = [
        own_store.create(recipes.make(method="adapter", task=task, backbone=str(files["backbone"])))
        for task in ("movies", "news")
    ]
    run = own_store.create(fusion(files, parents=tuple(finish(own_store, one).id for one in runs)))
    assert len(worker._ready_parents(own_store, run)[0]) == 2
    rewrite(files["backbone"], 9)
    with pytest.raises(worker.UserError, match="put the original weights back"):
        worker._ready_parents(own_store, run)
