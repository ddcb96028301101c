"""Make this project a Hugging Face Space, or bring one up to date: `python -m space_config.deploy owner/name`."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from space_config import checks
from trainer.errors import ArgumentError, Cancelled, UserError, sentence
from trainer.sources import hub

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Set on every Space: nothing is counted anywhere."""
FREE = "cpu-basic"
WITHOUT_GPU = ("cpu-", checks.ZERO_GPU)
"""How the names of the hardware begin on which nothing can train on a GPU."""
FAILED = ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR", "DELETING", "STOPPED", "PAUSED")
ASLEEP = ("PAUSED", "STOPPED", "SLEEPING")
"""States that a new commit does not always end."""
LOOKS = 24
"""For so many looks a failure may still be that of before."""
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD")
"""How the names of what must not be a variable end: everybody reads a Space's variables."""


@dataclass(frozen=True)
class Plan:
    """What the Space is to be. `sleep` is in seconds, -1 for never; `private` None leaves it as it is."""

    repository: str
    hardware: str
    sleep: int
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    private: bool | None = None


def stage(folder: Path, root: Path = ROOT) -> list[str]:
    """Put what git has committed into a folder, the card at its root; the changes that are not committed.

    Raises `ArgumentError` where the project is no git checkout.
    """
    git = ["git", "-C", str(root)]
    archive = subprocess.run([*git, "archive", "--format=tar", "HEAD"], capture_output=True)
    if archive.returncode:
        lines = archive.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise ArgumentError(
            expected="a git checkout of this project with a commit", got=lines[-1].rstrip("."), fix="clone it with git"
        )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    shutil.copyfile(folder / "space_config" / "README.md", folder / "README.md")
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return [line[3:] for line in changed.splitlines()]


def show(folder: Path, plan: Plan, left_out: list[str]) -> Iterator[str]:
    """What will be sent, a line each."""
    listed = list(checks.files(folder))
    sizes = {name: path.stat().st_size for name, path in listed}
    yield f"Space       {plan.repository or '(none named)'}"
    yield f"Hardware    {plan.hardware}"
    asleep = "after 48 hours without a visitor" if plan.hardware == FREE else f"after {plan.sleep} s without a visitor"
    yield f"Sleep       {'never' if plan.sleep < 0 and plan.hardware != FREE else asleep}"
    yield f"Variables   {', '.join(f'{name}={value}' for name, value in plan.variables.items()) or 'none'}"
    yield f"Secrets     {', '.join(plan.secrets) or 'none'}"
    yield f"Visibility  { {True: 'private', False: 'public', None: 'public, or as it is'}[plan.private] }"
    yield f"Files       {len(listed)}, {sum(sizes.values()) / 1e6:.1f} MB in all"
    for top in sorted({name.partition("/")[0] for name in sizes}):
        inside = [size for name, size in sizes.items() if name == top or name.startswith(f"{top}/")]
        count = f", {len(inside)} files" if (folder / top).is_dir() else ""
        yield f"            {top} ({sum(inside) / 1e3:,.1f} kB{count})"
    build = checks.torch_build(folder)
    yield f"torch       {f'{build.version} from {build.index}' if build else 'as the package index has it'}"
    if left_out:
        yield f"Left out    {len(left_out)} changes that are not committed: {', '.join(left_out[:5])}"


def send(api: Any, plan: Plan, folder: Path, say: Callable[[str], None]) -> str:
    """Create or update the Space and upload the folder; the id of the commit. Run again, it changes what differs."""
    repository = plan.repository
    with hub.writing("create the Space"):
        api.create_repo(repository, repo_type="space", space_sdk="gradio", private=plan.private, exist_ok=True)
        # One that was there keeps its visibility, whatever was asked.
        public = bool(plan.private) and not api.repo_info(repository, repo_type="space").private
    if public:
        raise UserError(
            expected="a private Space",
            got=f"{repository}, which is public",
            fix="make it private in its settings, or leave out --private",
        )
    with hub.writing("set the Space's variables"):
        there = {name: one.value for name, one in api.get_space_variables(repository).items()}
        for name, value in plan.variables.items():
            if there.get(name) != value:
                api.add_space_variable(repository, name, value)
                say(f"Variable {name} is set.")
        for name, value in plan.secrets.items():  # what a secret holds cannot be read: it is set each time
            api.add_space_secret(repository, name, value)
            say(f"Secret {name} is set.")
    with hub.writing(f"get the hardware {plan.hardware}"):
        runtime = api.get_space_runtime(repository)
        sleep = None if plan.hardware == FREE else plan.sleep
        if (runtime.requested_hardware or runtime.hardware) != plan.hardware:
            api.request_space_hardware(repository, plan.hardware, sleep_time=sleep)
            say(f"Hardware {plan.hardware} is requested.")
        elif sleep is not None and runtime.sleep_time != sleep:
            api.set_space_sleep_time(repository, sleep)
            say(f"The Space sleeps after {sleep} s." if sleep >= 0 else "The Space never sleeps.")
    with hub.writing("upload the files"):
        done = api.upload_folder(
            repo_id=repository, repo_type="space", folder_path=folder, delete_patterns="*",
            commit_message="Deploy PEFT Lab",
        )  # fmt: skip
    say("The files are uploaded.")
    return done.oid


def wait(api: Any, plan: Plan, commit: str, say: Callable[[str], None], *, minutes: float, pause: float) -> None:
    """Until the Space runs what was uploaded. Raises `UserError` with what failed."""
    begun, before, looks, moved, woken = time.monotonic(), "", 0, False, False
    where = f"{api.endpoint}/spaces/{plan.repository}"
    while True:
        with hub.writing("ask whether the Space runs"):
            runtime = api.get_space_runtime(plan.repository)
        stage, looks = str(getattr(runtime.stage, "value", runtime.stage)), looks + 1
        seconds = time.monotonic() - begun
        if stage != before:
            say(f"{seconds:5.0f} s  {stage.lower().replace('_', ' ')}")
            before, moved = stage, bool(before)
        # Before its new build begins, a Space still says how the old one went.
        sha = runtime.raw.get("sha")
        if stage == "RUNNING" and sha in (commit, None) and (runtime.hardware or plan.hardware) == plan.hardware:
            return
        if stage in ASLEEP and not woken:
            with hub.writing("restart the Space"):
                api.restart_space(plan.repository)
            say("It slept or was paused: it is restarted.")
            woken, looks = True, 0
        elif stage in FAILED and (looks > LOOKS or (moved and sha == commit and stage not in ASLEEP)):
            told = " ".join(str(runtime.raw.get("errorMessage") or stage).split())[:600].rstrip(".")
            raise UserError(
                expected="a Space that runs", got=f"{stage}: {told}", fix=f"its log is at {where}?logs=build"
            )
        if seconds > minutes * 60:
            raise UserError(expected=f"a Space that runs within {minutes:g} minutes", got=stage, fix=f"look at {where}")
        time.sleep(pause)


def wait_for_cuda(api: Any, plan: Plan, say: Callable[[str], None], *, minutes: float, pause: float) -> None:
    """Until a Space on a GPU says at /health that it computes on CUDA. Raises `UserError` where it does not."""
    import requests
    from huggingface_hub.utils import build_hf_headers

    if plan.hardware.startswith(WITHOUT_GPU):
        return
    with hub.writing("ask for the Space's address"):
        space = api.space_info(plan.repository)
    address = f"{space.host or 'https://' + plan.repository.replace('/', '-').lower() + '.hf.space'}/health"
    log = f"{api.endpoint}/spaces/{plan.repository}?logs=container"
    # The Space's own program sees the request: only one that is private is sent a token, without which it is closed.
    headers = build_hf_headers(token=None if space.private else False)
    begun, told = time.monotonic(), "no answer"
    while True:
        try:
            answer = requests.get(address, headers=headers, timeout=30)
            told = f"status {answer.status_code}"
            # 503 is how the app itself says that it is not ready, and why.
            health = answer.json() if answer.ok or answer.status_code == 503 else {}
            health = health if isinstance(health, dict) else {}
        except (requests.RequestException, ValueError) as error:
            told, health = type(error).__name__, {}
        device = health.get("device") or {}
        if device.get("kind") == "cuda":
            say(f"It computes on {device['name']}, in {device['precision']}.")
            return
        problem = health.get("problem")
        if device or problem:
            reported = " ".join(str(problem or f"{device['name']}, and no NVIDIA GPU").split())
            fix = "mend that" if problem else "restart the Space in its settings, or choose other hardware"
            raise UserError(
                expected=f"a Space that computes on CUDA on {plan.hardware}",
                got=reported.rstrip("."),
                fix=f"{fix} and deploy again; its log is at {log}",
            )
        if time.monotonic() - begun > minutes * 60:
            raise UserError(
                expected=f"a Space that says at {address} within {minutes:g} minutes what it computes on",
                got=told,
                fix=f"its log is at {log}",
            )
        time.sleep(pause)


def pairs(given: list[str] | None) -> dict[str, str]:
    """NAME=VALUE as a dictionary. Raises `ArgumentError`, for what looks like a secret too."""
    found = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            raise ArgumentError(
                expected="NAME=VALUE after --variable", got=repr(one), fix="write, say, WANDB_MODE=offline"
            )
        if name.upper().endswith(SECRET):
            raise ArgumentError(
                expected="a variable that everybody may read",
                got=f"{name}, which holds a secret by its name",
                fix=f"put it into the environment and give --secret {name}",
            )
        found[name] = value
    return found


def from_environment(names: list[str] | None) -> dict[str, str]:
    """The named secrets, read from the environment: on the command line others would see them."""
    missing = [name for name in names or () if not os.environ.get(name)]
    if missing:
        raise ArgumentError(
            expected=f"{missing[0]} in the environment", got="none", fix=f"write {missing[0]}=... before the command"
        )
    return {name: os.environ[name] for name in names or ()}


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="the Space")] = "",
    hardware: Annotated[str, typer.Option(help="t4-small, cpu-basic, ...")] = "",
    sleep_time: Annotated[int, typer.Option(help="seconds without a visitor before it sleeps; -1: never")] = 3600,
    variable: Annotated[Optional[list[str]], typer.Option(metavar="NAME=VALUE", help="may be repeated")] = None,
    secret: Annotated[
        Optional[list[str]], typer.Option(metavar="NAME", help="a secret, read from the environment; may be repeated")
    ] = None,
    private: Annotated[
        Optional[bool], typer.Option(help="who may see it, when it is created; one that is public is refused")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check and show only: no token, no network")] = False,
    resolve: Annotated[
        Optional[bool], typer.Option(help="ask the package index whether the requirements go together on a Space")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    minutes: Annotated[float, typer.Option(help="how long to wait for it to run")] = 30,
    pause: Annotated[float, typer.Option(hidden=True)] = 5,
) -> None:
    """Check a clean copy of what git has, show it, send it, and wait until the Space runs (one with a GPU: on CUDA)."""
    if not dry_run and (repository.count("/") != 1 or not all(repository.split("/"))):
        raise ArgumentError(expected="the Space as owner/name", got=repr(repository), fix="or give --dry-run")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "space"
        folder.mkdir()
        left_out = stage(folder)
        hardware = hardware or str(checks.card_of(folder).get("suggested_hardware", FREE))
        checks.lay_torch(folder, hardware)
        secrets = from_environment(secret)
        plan = Plan(repository, hardware, sleep_time, VARIABLES | pairs(variable), secrets, private)
        for line in show(folder, plan, left_out):
            typer.echo(line)
        _check(folder, plan, resolve=not dry_run if resolve is None else resolve)
        if dry_run:
            typer.echo("Nothing was sent. Not looked at: the token, and whether the Hub grants the hardware.")
            return
        from huggingface_hub import HfApi, get_token

        if not get_token():
            raise UserError(
                expected="a Hugging Face token that can write", got="none", fix="run `hf auth login`, or set HF_TOKEN"
            )
        if not yes and not typer.confirm(f"Send this to {repository}?"):
            raise Cancelled("Nothing was sent.")
        api = HfApi()
        commit = send(api, plan, folder, typer.echo)
        wait(api, plan, commit, typer.echo, minutes=minutes, pause=pause)
        wait_for_cuda(api, plan, typer.echo, minutes=minutes, pause=pause)
        typer.echo(f"It runs: {api.endpoint}/spaces/{repository}")


def _check(folder: Path, plan: Plan, *, resolve: bool) -> None:
    """Say what was checked. Raises `UserError` for the first of several problems after all were said."""
    for line in checks.notes(folder):
        typer.echo(f"Note        {line}")
    problems = checks.every_problem(folder, hardware=plan.hardware)
    if resolve and not problems and (missing := checks.missing_wheel(folder)):
        problems.append(missing)
    elif resolve and not problems:
        try:
            found = checks.resolve(folder)
            typer.echo(f"Resolves    {len(found)} packages, with what a Space adds")
        except ValueError as error:
            problems.append(
                f"Expected requirements that go together on a Space, got: {error}; change requirements.txt."
            )
    elif not resolve:
        typer.echo(
            "Not checked: whether the requirements go together on a Space, and whether torch's index has its build; "
            "--resolve asks both indexes."
        )
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise UserError(
            expected="a copy without problems",
            got=f"{len(problems)}, named above",
            fix="mend them and commit: what git has not committed is not sent",
        )
    typer.echo("Checked     front matter, versions, torch's build, sizes, secrets: in order")


def run() -> None:
    """The command line; an error is one sentence on standard error and an exit status."""
    try:
        app()
    except UserError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_status)
    except (Cancelled, KeyboardInterrupt) as error:
        typer.echo(sentence(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
