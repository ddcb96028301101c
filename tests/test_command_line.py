"""The command line as a person meets it: help, version, completion, what it says before it trains, hints of errors."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from conftest import ROOT, leave_out, no_worker, trainer

from trainer import __version__
from trainer.cli import app
from trainer.cli import train as cli_train
from trainer.errors import ArgumentError
from trainer.tasks import columns

COMMANDS = [name for name, command in typer.main.get_command(app).commands.items() if not command.hidden]
OPTION = re.compile(r"(?<![\w-])--[a-z]|python -m trainer")
"""An option or a command of the command line in a text."""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=lambda words: " ".join(words) or "all")
def test_h_is_help_and_says_what_a_value_is(command, own_store):
    short, long = (trainer(*command, option, store=own_store).stdout for option in ("-h", "--help"))
    assert short == long
    assert short.startswith("Usage: ")
    assert not re.findall(r"\b(TEXT|INTEGER|FLOAT)\b|<(?:str|int|float|path|list)\b", short), "a type is no help"


def test_the_version_is_printed(own_store):
    assert trainer("--version", store=own_store).stdout == f"PEFT Lab {__version__}\n"


@pytest.mark.parametrize(
    ("command", "known", "unknown"),
    [
        (["run", "--method", "lora"], ["learning_rate", "train_size", "r", "lora_alpha"], ["reduction_factor", "seed"]),
        (
            ["suite", "--method", "lora", "--method", "adapter"],
            ["epochs", "r", "reduction_factor"],
            ["method", "half_file"],
        ),
    ],
)
def test_an_unknown_setting_gets_the_nearest_and_all_there_are(command, known, unknown, own_store):
    done = trainer(*command, "--set", "epoch=1", store=own_store, check=False)
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("got 'epoch'; perhaps you meant epochs.")
    listed = re.search(r"a setting \((.*?)\)", done.stderr)[1].split(", ")
    assert set(known) <= set(listed)
    assert not set(unknown) & set(listed)


def test_a_runs_own_options_may_have_its_methods_name_as_a_suites_have(own_store):
    done = trainer("run", "--method", "vera", "--set", "vera.r=8", "--set", "vera.q=1", store=own_store, check=False)
    assert done.returncode == 2
    assert "got 'q'" in done.stderr
    assert "vera.r" not in done.stderr
    done = trainer("run", "--method", "vera", "--set", "lora.r=8", store=own_store, check=False)
    assert "got 'lora.r'" in done.stderr


def test_a_run_says_how_much_it_trains_before_it_starts_and_takes_held_out_files(
    own_store, tiny_backbone, tiny_file, second_file, monkeypatch
):
    monkeypatch.setattr(cli_train, "watch", lambda store, runs: None)  # nothing trains here
    held_out = ["--validation-file", str(second_file), "--test-file", str(second_file)]
    arguments = ["--task", str(tiny_file), "--backbone", str(tiny_backbone), *held_out, "--set", "epochs=2"]
    with no_worker(own_store):
        one = trainer("run", "--method", "lora", *arguments, "--set", "train_size=40", store=own_store).stdout
        two = trainer("suite", "--method", "lora", "--method", "full", *arguments, store=own_store).stdout
    about = r"training sentences, 2 epochs\. About (\d+|<1) s of training here, estimated from .+\.\n"
    assert re.fullmatch(rf"1 run: 40 {about}", one)
    assert re.fullmatch(rf"2 runs, one after another: \d+ {about}", two)
    runs = own_store.list()
    assert len(runs) == 3
    for run in runs:
        assert (run.recipe.validation_file, run.recipe.test_file) == (str(second_file), str(second_file))


# Hints of errors


def test_a_hint_is_in_the_words_of_its_surface(own_store, tiny_backbone, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ArgumentError) as caught:
        columns.choose_columns(["a", "b"], None, None, path)
    assert not OPTION.search(str(caught.value))
    done = trainer(
        "run", "--method", "lora", "--task", str(path), "--backbone", str(tiny_backbone), store=own_store, check=False
    )
    assert done.stderr == f"{caught.value.on_command_line}\n"
    assert "--text-column" in done.stderr
    assert done.stdout == ""


def test_no_text_that_the_page_shows_names_an_option():
    """Outside the command line's own package an option is named in `option_fix` alone, which it alone prints."""
    hints = 0
    for path in sorted((ROOT / "trainer").rglob("*.py")):
        if path.parent.name == "cli":
            continue
        for text, own in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            hints += own and bool(OPTION.search(text))
            assert own or not OPTION.search(text), f"{path.name}: {text}"
    assert hints > 10
    for path in sorted((ROOT / "trainer" / "ui" / "templates").rglob("*.html")):
        assert not re.search(r"tr\([^)]*python -m trainer", path.read_text(encoding="utf-8")), path.name


def _texts(node: ast.AST, own: bool = False):
    """(text, whether it is the command line's own) of each `tr` and `mark` below a node."""
    if isinstance(node, ast.keyword) and node.arg == "option_fix":
        own = True
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("tr", "mark"):
        yield from ((one.value, own) for one in node.args if isinstance(one, ast.Constant))
    for child in ast.iter_child_nodes(node):
        yield from _texts(child, own)


# Completion


def test_the_tab_key_completes_commands_and_options(own_store, tmp_path):
    script = trainer("completion", "bash", store=own_store).stdout
    if shutil.which("bash") is None:
        leave_out("no bash here")
    (tmp_path / "trainer.sh").write_text(script, encoding="utf-8")
    ask = 'source trainer.sh; COMP_WORDS=(%s); COMP_CWORD=%d; _trainer; echo "${COMPREPLY[*]}"'
    for words, wanted in (("trainer su", {"suite"}), ("trainer run --te", {"--text-column", "--test-file"})):
        line = ask % (words, len(words.split()) - 1)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert set(done.stdout.split()) == wanted, done.stderr
    for shell in ("zsh", "fish"):
        assert "-m trainer" in trainer("completion", shell, store=own_store).stdout
    done = trainer("completion", "basch", store=own_store, check=False)
    assert done.stderr == "Expected a shell (bash, zsh, fish), got 'basch'; perhaps you meant bash.\n"


def test_the_short_command_works_in_any_folder(own_store, tmp_path):
    if shutil.which("bash") is None:
        leave_out("no bash here")
    (tmp_path / "trainer.sh").write_text(trainer("completion", "bash", store=own_store).stdout, encoding="utf-8")
    command = ["bash", "-c", "source trainer.sh; trainer --version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(tmp_path), timeout=60)
    assert done.stdout == f"PEFT Lab {__version__}\n", done.stderr
