"""The documents: links, versions, the command line's options, and every command that they show."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from conftest import ROOT, trainer

from trainer.cli import app
from trainer.runs import archive
from trainer.runs.store import Store

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*DOCS, *(ROOT / name for name in ("CHANGELOG.md", "adapters_store/README.md", "benchmarks/README.md"))]
COMMAND_LINE = ROOT / "docs" / "command-line.md"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of the code blocks, fenced ones by their language and indented ones by none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    # An indented block begins after an empty line or a heading; elsewhere an indented line goes on with a paragraph.
    block, before = [], ""
    for line in [*prose(text).splitlines(), "the end"]:
        if line.startswith("    ") and (block or not before or before.startswith("#")):
            block.append(line[4:])
        elif block and line:
            found.append(("", "\n".join(block) + "\n"))
            block = []
        before = line
    return found


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# Links and versions


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_and_pictures_are_there(page):
    text = prose(read(page))
    for picture, target in re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{target} is not there"
        assert file.is_relative_to(ROOT)
        if picture:
            assert file.read_bytes().startswith(b"\x89PNG")
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(read(file)), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_place_was_left_to_be_filled(page):
    assert not re.findall(r"\b[A-Z]+_(?:PART|TABLE|LINE|HERE)\b|\bTBD\b|\?\?\?", read(page))


def test_every_document_is_reached_from_the_readme():
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found or page.suffix != ".md" or not page.is_file():
            continue
        found.add(page)
        targets = re.findall(r"\]\(([^)#\s]+)", read(page))
        waiting += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert not [page.name for page in PAGES if page not in found]


def test_versions_agree_and_the_licence_is_whole():
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    assert str(citation["version"]) == project["version"]
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    versions = re.findall(r"^## \[([^\]]+)\]", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert versions[:2] == ["Unreleased", project["version"]]
    # The text of https://www.apache.org/licenses/LICENSE-2.0.txt, whatever ends its lines.
    text = (ROOT / "LICENSE").read_bytes().replace(b"\r\n", b"\n").strip()
    assert hashlib.sha256(text).hexdigest() == LICENCE


LICENCE = "283ea6cc2997a1a70da0049e09adf9317bb60ca1b51279b65196b83a69e1996b"


# The command line, option by option


def sections() -> dict[str, list[list[str]]]:
    """Command -> the first cells of its table, each as the names in it."""
    text = read(COMMAND_LINE).partition("## Commands\n")[2].partition("\n## ")[0]
    found = {}
    for part in text.split("\n### ")[1:]:
        rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("|")][2:]
        found[part.splitlines()[0]] = [re.findall(r"`([^`]+)`", cell) for cell in rows]
    return found


def test_the_document_has_every_command_and_option_and_no_other():
    commands = {name: one for name, one in typer.main.get_command(app).commands.items() if not one.hidden}
    told = sections()
    assert list(told) == list(commands)
    for name, command in commands.items():
        wanted = []
        for one in command.params:
            if one.param_type_name == "argument":
                wanted.append([one.metavar or one.name.upper()])
            elif "--help" not in one.opts:
                wanted.append([*one.opts, *one.secondary_opts])
        assert told[name] == wanted, name


def test_the_document_of_the_deployment_has_every_option():
    from space_config import deploy

    rows = re.findall(r"^\| (`--.*?) \|", read(ROOT / "docs" / "deployment.md"), re.MULTILINE)
    told = {name.split()[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    options = [one for one in typer.main.get_command(deploy.app).params if one.param_type_name == "option"]
    assert told == {name for one in options if not one.hidden for name in (*one.opts, *one.secondary_opts)}


def test_the_document_has_every_setting_with_its_default_and_its_description():
    from trainer import methods
    from trainer.config import RunConfig

    text = read(COMMAND_LINE).partition("## Settings\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    elsewhere = {"method", "task", "backbone", "seed", "parents", "track", "options"}
    elsewhere |= {"text_column", "label_column", "group_column"}
    fields = {name: [field] for name, field in RunConfig.model_fields.items() if name not in elsewhere}
    owners: dict[str, list[str]] = {}
    # Those of the others stand in docs/methods.md.
    for method, one in ((name, methods.get(name)) for name in methods.DEFAULT):
        for name, field in one.options.model_fields.items():
            fields.setdefault(name, []).append(field)
            owners.setdefault(name, []).append(method)
    assert {row[0].strip("`") for row in rows} == set(fields)
    assert len(rows) == len(fields)
    for name, default, what in rows:
        for field in fields[name.strip("`")]:
            assert field.description in what
            value = "" if field.is_required() or field.default in (None, ()) else field.default
            shown = ",".join(value) if isinstance(value, tuple) else str(value)
            shown = shown.lower() if isinstance(value, bool) else shown
            assert default.strip("`") == ("the method's own" if field.is_required() else shown), name
        assert all(f"`{method}`" in what for method in owners.get(name.strip("`"), ()))


def variables(*places: Path) -> set[str]:
    """Names that the program asks the environment for, in whatever way."""
    found = set()
    for path in places:
        tree = ast.parse(read(path))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            asked = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                if node.func.attr in ("get", "setdefault", "pop", "getenv") and (
                    "environ" in ast.unparse(node.func.value) or node.func.attr == "getenv"
                ):
                    asked = node.args[0]
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                asked = node.slice
            name = asked.value if isinstance(asked, ast.Constant) else constants.get(getattr(asked, "id", ""))
            found |= {name} if isinstance(name, str) else set()
    return found


def test_the_document_has_every_environment_variable_that_the_program_reads():
    code = [ROOT / "app.py", *(ROOT / "trainer").rglob("*.py"), *(ROOT / "space_config").rglob("*.py")]
    text = read(COMMAND_LINE).partition("## Environment variables\n")[2]
    own, libraries = text.split("Read by its libraries", 1)
    told = set(re.findall(r"^\| `(\w+)`", own, re.MULTILINE))
    assert told == variables(*code)
    assert {"ADAPTERS_STORE", "PEFT_LAB_PASSWORD", "PEFT_LAB_LANGUAGE", "SPACE_ID"} <= told, "the search finds them"
    container = set(re.findall(r"\b([A-Z_]+)=", read(ROOT / "Dockerfile").partition("ENV ")[2].partition("\n\n")[0]))
    library = set(re.findall(r"^\| `(\w+)`", libraries, re.MULTILINE))
    assert {name for name in container if not name.startswith(("PYTHON", "PIP_"))} <= told | library


# Every command in the documents


@dataclass(frozen=True)
class Here:
    """Run here on a copy of a trained store, its placeholders filled in and `more` added; it must say `says`."""

    more: str = ""
    status: int = 0
    says: str = ""


@dataclass(frozen=True)
class By:
    """Run by a test or fixture (`tests/file.py::function`) or by a step of CI, which has `part` in it.

    `why` says, of a command that cannot run where the tests do, what keeps it; the test is the nearest to it.
    """

    place: str
    part: str
    why: str = ""


TINY = "--backbone TINY"
SMALL = "--set train_size=16 --set validation_size=8 --set test_size=8 --set epochs=1"
CONTAINER = By(
    "tests/test_deploy.py::test_what_the_container_copies_serves_and_is_found_healthy",
    "for name, rest in found",
    why="needs a container engine: the test does what the Dockerfile's COPY, ENV, CMD and HEALTHCHECK say",
)
SPACE = "tests/test_deploy.py::test_the_space_is_created_filled_and_waited_for"
ACCOUNT = "needs an account of the Hub, which a test does not have"
INSTALL = "pip install -q --no-compile -r requirements-dev.txt"

COMMANDS: dict[str, Here | By] = {
    # Set-up
    "python3.11 -m venv .venv": By(".ci/run", "python3.11 -m venv .venv"),
    ".venv/bin/pip install -r requirements.txt": By(".ci/run", INSTALL),
    ".venv/bin/pip install -r requirements-dev.txt": By(".ci/run", INSTALL),
    ".venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder": By(
        ".ci/run", ".venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder"
    ),
    "pip install torch --index-url https://download.pytorch.org/whl/cpu": By(
        "Dockerfile", "TORCH_INDEX=https://download.pytorch.org/whl/cpu", why="needs torch's own index"
    ),
    "pip install -r requirements-dev.txt": By(".ci/run", INSTALL),
    "pytest tests/test_texts.py": By(".ci/run", "python -m pytest"),
    "ruff check": By(".ci/run", "ruff check ."),
    "ruff check .": By(".ci/run", "ruff check ."),
    "ruff format --check": By(".ci/run", "ruff format --check ."),
    "ruff format .": By(".ci/run", "ruff format --check .", why="would write: CI checks that it has been run"),
    "python -m pytest tests/test_core.py": By(".ci/run", "python -m pytest"),
    "python -m pytest -k schema": By(".ci/run", "python -m pytest"),
    # The app
    "python -m benchmarks.gpu --out gpu.json": By(
        "tests/test_gpu.py::test_every_step_runs_on_this_machine_and_what_it_checks_holds", '"benchmarks.gpu", "--out"'
    ),
    "python -m benchmarks.rates --method psoft": By(
        "tests/test_rates.py::test_a_sweep_trains_what_its_table_lacks", "rates.sweep", why="takes hours"
    ),
    "python -m benchmarks.study": By(
        "tests/test_study.py::test_the_page_is_what_the_command_writes", '"benchmarks.study"'
    ),
    "python -m benchmarks.study --store FOLDER --task sst2": By(
        "tests/test_study.py::test_the_page_is_what_the_command_writes", '"--store"', why="needs the runs of a GPU"
    ),
    "python app.py": By("tests/conftest.py::app_on", '"app.py"'),
    ".venv/bin/python app.py": By("tests/conftest.py::app_on", '"app.py"'),
    "python app.py --language hi": By("tests/test_language.py::test_a_language_is_chosen_on_the_command_line", '"hi"'),
    "PEFT_LAB_PASSWORD=... GRADIO_SERVER_NAME=0.0.0.0 python app.py": By(
        "tests/test_space.py::classroom", "app_on(root, TMPDIR=str(drop), **PASSWORD)"
    ),
    # The command line
    "python -m trainer COMMAND": Here(says="Commands"),
    "python -m trainer suite --preset quick": Here(f"--method lora {SMALL}", says="test accuracy"),
    "python -m trainer suite --preset report": By(
        "tests/test_train.py::test_a_preset_in_the_form_launches_what_the_command_line_does",
        "PRESETS[preset]",
        why="needs a GPU and the Hub",
    ),
    "python -m trainer suite --method lora --method adapter --seed 0 --seed 1 --set epochs=2 --set lora.r=8": Here(
        f"--task PATH.csv {TINY}", says="test accuracy"
    ),
    "python -m trainer run --method lora --task movies --backbone minilm --seed 0 --set learning_rate=3e-4": Here(
        SMALL, says="test accuracy"
    ),
    "python -m trainer run --method lora --task PATH.csv --text-column sentence --label-column label": Here(
        f"{TINY} --set epochs=1", says="test accuracy"
    ),
    "python -m trainer list": Here(says="finished"),
    "python -m trainer list --json": Here(says='"folder"'),
    "python -m trainer show RUN": Here(says="Test accuracy"),
    "python -m trainer show RUN --json": Here(says='"schema_version": 3'),
    "python -m trainer compare": Here(says="Test accuracy"),
    "python -m trainer compare --json": Here(says='"test_accuracy"'),
    "python -m trainer compare --csv FILE.csv": Here(says="runs written to"),
    "python -m trainer compare --peft FOLDER": By(
        "tests/test_run_format.py::test_pefts_own_reader_gets_the_figures_of_every_method", '"--peft"'
    ),
    "python -m trainer report --out report.html": Here(says="runs reported in"),
    'python -m trainer predict "A warm, funny film."': Here(says="probability"),
    'python -m trainer predict "A warm, funny film." --runs RUN --json': Here(says='"probabilities"'),
    "python -m trainer predict --file IN.csv --out OUT.csv": Here(says="2 sentences through"),
    "python -m trainer estimate --method qlora --backbone bert-base": Here(says="591,362"),
    "python -m trainer estimate --method lora --backbone bert-base": Here(says="591,362"),
    "python -m trainer cancel RUN": Here(status=2, says="Expected a run that waits or trains"),
    "python -m trainer resume RUN": Here(status=2, says="Expected a failed or cancelled run"),
    "python -m trainer again RUN": Here(says="test accuracy"),
    "python -m trainer remake": By(
        "tests/test_bundled.py::test_a_run_that_came_out_otherwise_is_found", "bundled.compare"
    ),
    "python -m trainer remake lora-movies-minilm-s0-bundled": By(
        "tests/test_bundled.py::test_one_command_makes_a_run_again_with_the_same_figures", '"remake", small.id'
    ),
    "python -m trainer remake --replace": By(
        "tests/test_bundled.py::test_what_is_kept_is_whole_and_has_lasting_ids", "bundled.replace"
    ),
    "python -m trainer delete RUN": By("tests/test_runs.py::test_delete_asks_and_removes", '"delete", run.id], input='),
    "python -m trainer delete RUN --yes": Here(says="is deleted."),
    "python -m trainer export RUN OUT.zip": Here(says="Written to"),
    "python -m trainer load OUT.zip": Here(says="is in the store."),
    "python -m trainer load PATH": Here(says="is in the store."),
    # The tiny encoder has 64 positions, too few for some film reviews: of two tasks the last counts.
    "python -m trainer adopt FOLDER --task movies": Here(f"{TINY} --task PATH.csv", says="test accuracy"),
    "python -m trainer fetch": Here(says="already here"),
    "python -m trainer completion bash": By(
        "tests/test_command_line.py::test_the_tab_key_completes_commands_and_options", '"completion", "bash"'
    ),
    "python -m trainer push RUN --repo you/name": By(
        "tests/test_deploy.py::test_a_pushed_run_opens_with_its_library_alone", '"push", run.id, "--repo"'
    ),
    # For others
    "python -m space_config.deploy --dry-run": Here(says="Nothing was sent"),
    "python -m space_config.deploy --dry-run --resolve": By(
        "tests/test_deploy.py::test_requirements_that_do_not_go_together_are_said", "checks.resolve"
    ),
    "python -m space_config.deploy you/peft-lab": By(SPACE, "deployed(whole, *arguments"),
    "python -m space_config.deploy you/peft-lab --secret PEFT_LAB_PASSWORD": By(
        SPACE, '"--secret", "PEFT_LAB_PASSWORD"'
    ),
    "hf auth login": By("tests/test_deploy.py::to", "HF_TOKEN", why=ACCOUNT),
    "read -rs PEFT_LAB_PASSWORD": By(SPACE, "PEFT_LAB_PASSWORD=", why="waits for a person's keys"),
    "export PEFT_LAB_PASSWORD": By(SPACE, "PEFT_LAB_PASSWORD=", why="is the shell's own"),
    "hf buckets create you/peft-lab-runs --private": By("tests/test_space.py::volume", "VOLUME", why=ACCOUNT),
    "hf spaces volumes set you/peft-lab -v hf://buckets/you/peft-lab-runs:/data": By(
        "tests/test_space.py::volume", "VOLUME", why=ACCOUNT
    ),
    "python -c \"from huggingface_hub import HfApi; HfApi().pause_space('you/peft-lab')\"": By(
        "tests/test_docs.py::test_what_the_documents_ask_of_the_hubs_client_is_there", "pause_space", why=ACCOUNT
    ),
    "docker build -t peft-lab .": CONTAINER,
    "docker build -t peft-lab --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .": CONTAINER,
    "docker run --rm -p 7860:7860 -v peft-lab:/store peft-lab": CONTAINER,
    "docker run --rm -p 7860:7860 -v peft-lab:/store -e PEFT_LAB_PASSWORD=... peft-lab": CONTAINER,
    "docker run --rm --gpus all -p 7860:7860 -v peft-lab:/store peft-lab": CONTAINER,
    # The contributors' guide
    "python -m pytest tests/test_methods.py -k psoft": By(
        "tests/test_examples.py::test_the_contributors_method_and_task_work", "-k psoft"
    ),
    "python -m trainer run --method psoft --task movies --set train_size=1000": By(
        "tests/test_examples.py::test_the_contributors_method_and_task_work", "--method psoft"
    ),
    "python -m trainer run --method lora --task strength --set train_size=1000": By(
        "tests/test_examples.py::test_the_contributors_method_and_task_work", "--task strength"
    ),
    "PYTHONPATH=. python tests/test_peft_family.py": By(
        "tests/test_examples.py::test_the_contributors_method_and_task_work", "tests/test_peft_family.py"
    ),
    "PYTHONPATH=. python tests/test_run_format.py": By(
        "tests/test_examples.py::test_the_contributors_method_and_task_work", "tests/test_run_format.py"
    ),
}

PROGRAMS = (
    "python",
    "python3.11",
    "pip",
    "docker",
    "hf",
    "ruff",
    "curl",
    "git",
    "read",
    "export",
    "cd",
    "rm",
    "pytest",
    "pybabel",
)
PROGRAM = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:{'|'.join(map(re.escape, PROGRAMS))}) ")


def shell(text: str) -> list[str]:
    """The commands of a shell block: continued lines joined, comments and `&&` apart.

    `a | b` after `python -m trainer` is the README's way to show several of its commands in a line.
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        for command in filter(None, line.split(" && ")):
            head, *others = re.split(r" \| ", command)
            found += [head, *(f"python -m trainer {one}" for one in others)]
    return [" ".join(command.split()) for command in found]


def commands(page: Path) -> list[str]:
    """Every command that a page shows: in blocks, and between backticks."""
    text, found = read(page), []
    for language, block in blocks(text):
        unnamed = language == "" and any(map(PROGRAM.match, block.splitlines())) and not is_python(block)
        if unnamed or language in ("bash", "sh", "shell", "console"):
            found += shell(block)
    inline = re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", prose(text))
    return found + [" ".join(span.split()) for span in inline if PROGRAM.match(span)]


def is_python(block: str) -> bool:
    try:
        ast.parse(block)
    except SyntaxError:
        return False
    return True


def shown() -> dict[str, str]:
    """Command -> the page that shows it first; test_examples.py runs curl and what collects texts."""
    found: dict[str, str] = {}
    for page in DOCS:
        for command in commands(page):
            if not command.startswith(("curl ", "pybabel ", "rm ")):
                found.setdefault(command, page.name)
    return found


def test_every_command_in_the_documents_is_run_by_a_test_or_by_ci():
    told = shown()
    unlisted = {command: page for command, page in told.items() if command not in COMMANDS}
    assert not unlisted, "in the documents, but in no test: add it to COMMANDS"
    assert not [command for command in COMMANDS if command not in told], "in COMMANDS, but in no document"
    apart = {
        page.name for page in DOCS for command in commands(page) if command.startswith(("curl ", "pybabel ", "rm "))
    }
    assert apart == {"endpoints.md", "translating.md"}


@pytest.mark.parametrize("command", [command for command, one in COMMANDS.items() if isinstance(one, By)])
def test_what_another_test_runs_is_run_there(command):
    by = COMMANDS[command]
    file, _, function = by.place.partition("::")
    text = read(ROOT / file)
    if function:
        found = [node for node in ast.walk(ast.parse(text)) if getattr(node, "name", None) == function]
        assert found, f"{by.place} is not there"
        text = ast.get_source_segment(text, found[0])
    assert by.part in text, f"{by.place} has no {by.part!r}"


@pytest.fixture
def places(suite, tmp_path, tiny_backbone, tiny_file) -> tuple[dict[str, str], Store]:
    """What stands for the placeholders of a command, and the store that it works on."""
    store = Store(tmp_path / "library")
    shutil.copytree(suite[0].root, store.root, ignore=shutil.ignore_patterns(".*", "wandb"))
    run = next(run for run in store.list() if run.recipe.method == "lora")
    (tmp_path / "in.csv").write_text("text,mine\nthe film is warm,1\nthe cast is cold,2\n", encoding="utf-8")
    files = {
        "IN.csv": "in.csv",
        "OUT.csv": "out.csv",
        "FILE.csv": "file.csv",
        "OUT.zip": "out.zip",
        "PATH": "there.zip",
        "report.html": "report.html",
    }
    names = {name: str(tmp_path / place) for name, place in files.items()}
    names |= {"PATH.csv": str(tiny_file), "FOLDER": str(run.model_folder), "TINY": str(tiny_backbone)}
    return names | {"RUN": run.id, "COMMAND": "--help"}, store


@pytest.mark.parametrize("command", [command for command, one in COMMANDS.items() if isinstance(one, Here)])
def test_commands_do_what_the_documents_say(command, places, tmp_path):
    here, (names, store) = COMMANDS[command], places
    if " load " in command:  # into a store that has no such run
        archive.export(store, names["RUN"], Path(names[command.split()[-1]]))
        store.delete(names["RUN"])
    words = [names.get(word, word) for word in shlex.split(f"{command} {here.more}")]
    if words[1:3] == ["-m", "trainer"] and "--help" not in words:
        done = trainer(*words[3:], store=store, check=False)
    else:
        done = subprocess.run(
            [sys.executable, *words[1:]], capture_output=True, text=True, cwd=ROOT, timeout=300,
            env=os.environ | {"ADAPTERS_STORE": str(store.root)},
        )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == here.status, said
    assert here.says in said
    assert "Traceback" not in said


def test_what_the_documents_ask_of_the_hubs_client_is_there():
    from huggingface_hub import HfApi

    assert callable(HfApi.pause_space)
