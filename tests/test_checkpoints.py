"""Damaged checkpoints: a run resumes from a whole one or starts again, whatever happens to a file, and says so."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_loop import parents, ready_loop, recipe, weights  # noqa: F401 - `parents` is a fixture

from trainer.engine import checkpoints
from trainer.errors import UserError, sentence
from trainer.events import State

METHODS = ("lora", "adapter_fusion")
FILES = (checkpoints.WEIGHTS, checkpoints.BEST, checkpoints.TRAINING, checkpoints.PROGRESS, checkpoints.MANIFEST)


@pytest.fixture(scope="module")
def made(tiny_backbone, tiny_file, parents, tmp_path_factory):  # noqa: F811
    """Method -> (config, model, folder with the checkpoints of steps 2 and 3, weights after step 3)."""
    found = {}
    for name in METHODS:
        config = recipe(name, tiny_file, tiny_backbone)
        loop = ready_loop(config, tmp_path_factory.mktemp(name), parents)
        groups = loop.groups(0)[:3]
        batches = loop.load(groups)
        for group in groups:
            loop.step(group, batches)
            loop.progress.best = None  # each is the best so far, and its file another
            loop.evaluate()
            loop.checkpoint()
        found[name] = SimpleNamespace(config=config, loop=loop, folder=loop.request.folder, after=weights(loop))
    return found


def damaged(made, tmp_path) -> Path:
    """A copy of a run's folder, to damage."""
    return Path(shutil.copytree(made.folder, tmp_path / "run"))


def newest(made, folder):
    """What `newest_sound` finds in a folder: (name of the checkpoint or None, reasons)."""
    found, unusable = checkpoints.newest_sound(
        folder / "checkpoints", made.loop.prepared.model, made.loop.request.identity()
    )
    return found and found.name, [one.reason for one in unusable]


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "first bit flipped": lambda path: flip(path, 0),
    "a bit in the middle flipped": lambda path: flip(path, path.stat().st_size // 2),
    "last bit flipped": lambda path: flip(path, -1),
    "last byte cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "that of another step": lambda path: shutil.copyfile(path.parent.parent / "step-2" / path.name, path),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_has_the_files_that_are_damaged_here(name, made):
    folder = made[name].folder / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"step-2", "step-3"}
    assert {path.name for path in (folder / "step-3").iterdir()} == set(FILES)
    assert newest(made[name], made[name].folder) == ("step-3", [])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", METHODS)
def test_a_damaged_file_is_never_read_and_the_checkpoint_before_is_used(name, file, damage, made, tmp_path):
    folder = damaged(made[name], tmp_path)
    DAMAGES[damage](folder / "checkpoints" / "step-3" / file)
    found, reasons = newest(made[name], folder)
    assert found == "step-2"
    assert len(reasons) == 1
    assert file in reasons[0]
    for path in (folder / "checkpoints" / "step-2").iterdir():
        path.unlink()
    assert newest(made[name], folder) == (None, [*reasons, checkpoints.NO_MANIFEST])


def test_no_flipped_bit_of_a_manifest_is_taken_for_another_content(made, tmp_path):
    """It is refused, or says the same: a flipped bit of a space or of a letter's case may do so."""
    folder = damaged(made["lora"], tmp_path)
    path = folder / "checkpoints" / "step-3" / checkpoints.MANIFEST
    whole = path.read_bytes()
    for position in range(0, len(whole), 5):
        path.write_bytes(whole)
        flip(path, position)
        if newest(made["lora"], folder)[0] == "step-3":
            assert json.loads(path.read_bytes()) == json.loads(whole)


@pytest.mark.parametrize(
    "content",
    [b"null", b"[]", b"{}", b'{"files": 3}', b'{"files": {}}', b'{"files": {"a": 1}}', b"[" * 10_000, b"\xff\xfe"],
)
def test_a_manifest_of_another_kind_is_damage(content, made, tmp_path):
    folder = damaged(made["lora"], tmp_path)
    (folder / "checkpoints" / "step-3" / checkpoints.MANIFEST).write_bytes(content)
    assert newest(made["lora"], folder)[0] == "step-2"


def test_folders_that_are_no_checkpoints_are_passed_over(made, tmp_path):
    folder = damaged(made["lora"], tmp_path)
    for name in ("step-", "step-x", "step--1", "step-9 copy", ".writing", ".old-step-2"):
        (folder / "checkpoints" / name).mkdir()
    (folder / "checkpoints" / "step-7").write_text("a file")
    assert newest(made["lora"], folder) == ("step-3", [])
    (folder / "checkpoints" / "step-2").rename(folder / "checkpoints" / "step-8")
    assert newest(made["lora"], folder) == ("step-3", ["manifest.json is that of another step"])


def resumed(made, folder, config=None, parents=()):  # noqa: F811
    """A new loop on a folder, resumed if it could be; and the notes of its events."""
    events = []
    loop = ready_loop(config or made.config, folder, parents, emit=events.append)
    loop.resume_if_possible()
    assert all(isinstance(event, State) and event.state == "running" for event in events)
    return loop, [event.note for event in events]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_goes_on_from_the_sound_checkpoint_to_the_bit_and_says_so_once(name, made, parents, tmp_path):  # noqa: F811
    folder = damaged(made[name], tmp_path)
    flip(folder / "checkpoints" / "step-3" / checkpoints.TRAINING, 1000)
    loop, notes = resumed(made[name], folder, parents=parents)
    assert notes == ["checkpoint step-3 is not used: training.pt has changed; going on from step-2"]
    assert loop.progress.step == 2
    groups = loop.groups(0)[2:3]
    loop.step(groups[0], loop.load(groups))
    for parameter, values in made[name].after.items():
        assert torch.equal(weights(loop)[parameter], values), parameter
    assert resumed(made[name], folder, parents=parents)[1] == []


def test_a_run_without_a_sound_checkpoint_starts_again_and_says_so(made, tmp_path):
    folder = damaged(made["lora"], tmp_path)
    for step in (2, 3):
        (folder / "checkpoints" / f"step-{step}" / checkpoints.BEST).unlink()
    loop, notes = resumed(made["lora"], folder)
    assert loop.progress.step == 0
    end = "is not used: best.safetensors is missing; no other is whole: the run starts again"
    assert notes == [f"checkpoint step-{step} {end}" for step in (3, 2)]


def test_an_earlier_versions_checkpoint_is_not_used_and_not_deleted(made, tmp_path):
    folder = damaged(made["lora"], tmp_path)
    for step in (2, 3):
        (folder / "checkpoints" / f"step-{step}" / checkpoints.MANIFEST).unlink()
    loop, notes = resumed(made["lora"], folder)
    assert loop.progress.step == 0
    assert all(checkpoints.NO_MANIFEST in note for note in notes)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"unused-step-2", "unused-step-3"}
    assert resumed(made["lora"], folder)[1] == [], "it is said once"


@pytest.mark.parametrize("at", ["_sha256", "_shapes_of"])
def test_a_checkpoint_that_the_disk_cannot_read_now_stays(at, made, tmp_path, monkeypatch):
    """A network disk may be away for a moment; hours of training are not deleted for that."""

    def away(path):
        raise OSError(5, "Input/output error")

    folder = damaged(made["lora"], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, at, away)
        with pytest.raises(UserError, match=r"can be read, got Input/output error \(step-3\); resume the run later"):
            resumed(made["lora"], folder)
    assert resumed(made["lora"], folder)[0].progress.step == 3


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1e-4}, {"batch_size": 8}, {"epochs": 5}, {"seed": 1}, {"lr_scheduler": "cosine"}]
)
def test_the_checkpoint_of_a_changed_recipe_is_not_used(change, made, tmp_path):
    """The parameters have the same shapes: training would go on with another optimiser, order or schedule."""
    folder = damaged(made["lora"], tmp_path)
    loop, notes = resumed(made["lora"], folder, made["lora"].config.model_copy(update=change))
    assert loop.progress.step == 0
    assert all("it belongs to another recipe or other parents" in note for note in notes)
    assert len(notes) == 2


def test_a_fusions_checkpoint_belongs_to_its_parents_weights(made):
    request = made["adapter_fusion"].loop.request
    path = sorted(request.parents[1].folder.rglob("*.safetensors"))[0]
    before, whole = request.identity(), path.read_bytes()
    flip(path, -1)
    try:
        assert request.identity() != before
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("writer", ["torch", "safetensors", "python"])
def test_a_full_disk_has_one_sentence_whoever_writes_and_leaves_no_folder(writer, tmp_path):
    """Linux's /dev/full is a full disk. torch's own error for it is "file write failed"."""
    final = tmp_path / "model"
    final.mkdir()
    (final / "old").touch()

    def write(path):
        if writer == "torch":
            torch.save(torch.zeros(1 << 20), path)
        elif writer == "safetensors":
            checkpoints.save_state(path, {"a": torch.zeros(1 << 20)})
        else:
            path.write_bytes(bytes(1 << 22))

    def replace():
        with checkpoints.replacing(final, tmp_path / ".model") as folder:
            for name in ("file", ".probe"):
                (folder / name).symlink_to("/dev/full")
            write(folder / "file")

    with pytest.raises(OSError, match="No space left") as caught:
        replace()
    assert caught.value.errno == errno.ENOSPC
    assert "full disk" in sentence(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (final / "old").is_file(), "what was there stays"


def test_an_error_that_is_none_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), checkpoints.replacing(tmp_path / "a", tmp_path / ".a"):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_an_allocation_that_failed_is_named_for_where_it_failed():
    for make in (lambda: torch.empty(1 << 50), lambda: bytearray(1 << 55)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            make()
        assert sentence(caught.value).startswith("Expected the run to fit in memory, got an out-of-memory error")
    on_a_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert sentence(on_a_gpu).startswith("Expected the run to fit in the GPU's memory")
