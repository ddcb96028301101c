"""The Gradio part of `trainer.machine.access`: who sends a request, the guard of what changes runs, and signing in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.machine.access import HOURS, PASSWORD, Visitor
from trainer.texts import tr
from trainer.ui.common.lab import Lab, endpoint, note

CSS = """
#lab-access { gap: 10px; padding: 12px; margin-bottom: 8px; border: 1px solid var(--border-color-primary);
  border-radius: 8px; background: var(--block-background-fill); }
#lab-access .lab-ask { max-width: 560px; align-items: end; }
#lab-access .lab-narrow { width: auto; align-self: flex-start; min-width: min(100%, 240px); }
"""
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
COOKIE = "peft-lab-grant"
"""Where a browser that gave the password says so with an upload, which comes without the page's session."""
TELL = f"""(grant) => {{
  const age = grant ? {HOURS * 3600} : 0;
  const where = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  document.cookie = `{COOKIE}=${{grant || ""}}; path=/; max-age=${{age}}; ${{where}}`;
  return [];
}}"""
"""On a Space the page stands in a frame of another site's, where a cookie must be asked for in these words."""


def visitor_of(request: gr.Request | None) -> Visitor:
    """Who sends a request."""
    if request is None:
        return Visitor()
    inner = getattr(request, "request", None)
    client = getattr(request, "client", None)
    return Visitor(
        session=getattr(request, "session_hash", None),
        address=getattr(client, "host", None) or "",
        profile=profile_of(getattr(inner, "scope", None) or {}),
        origin=request.headers.get("origin"),
    )


def profile_of(scope: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The profile in Gradio's session cookie; None without one, and with one that has expired."""
    import time

    signed_in = scope.get("session", {}).get("oauth_info") or {}
    alive = (signed_in.get("expires_at") or float("inf")) > time.time()
    return signed_in.get("userinfo") if alive else None


def guarded(lab: Lab, function: Callable[..., Any], *, outputs: int = 1) -> Callable[..., Any]:
    """`function` for those who may change runs; others read one sentence in the first output, the rest stays as it is.

    Every listener that changes something is wrapped in this; a test walks the app's listeners and holds that.
    """

    def call(request: gr.Request, *values: Any) -> Any:
        try:
            lab.access.require(visitor_of(request))
        except UserError as error:
            said = note(sentence(error), "warning")
            return said if outputs == 1 else (said, *[gr.skip()] * (outputs - 1))
        return function(*values)

    update_wrapper(call, function)
    call.__annotations__ = {"request": gr.Request}  # how Gradio knows where the request goes
    del call.__wrapped__
    call.guards = function
    return call


def may_change(lab: Lab, request: gr.Request) -> bool:
    """Whether a request comes from somebody who may change runs."""
    return lab.access.rules.open or lab.access.allows(visitor_of(request))


def require(lab: Lab, request: gr.Request | None, password: str | None) -> None:
    """The guard of an endpoint that other programs call. Raises `gr.Error` with one sentence."""
    try:
        lab.access.require(visitor_of(request), password, program=True)
    except UserError as error:
        raise gr.Error(str(error)) from None


def build(lab: Lab, page: gr.Blocks) -> None:
    """What may be done here and the ways in; nothing where everything is open to everybody."""
    rules = lab.access.rules
    if rules.open:
        return
    # Gradio encrypts what the browser keeps, but sends every browser this key: it hides nothing. What protects the
    # grant is that it lies in its own browser alone, and ends.
    grant = gr.BrowserState(None, storage_key="peft-lab-grant", secret="known to every browser")
    with gr.Column(variant="panel", elem_id="lab-access"):
        said = gr.HTML()
        if rules.password:
            with gr.Row(elem_classes="lab-ask") as ask:
                password = gr.Textbox(
                    label=tr("Password"),
                    type="password",
                    max_length=200,
                    min_width=180,
                    html_attributes=gr.InputHTMLAttributes(autocomplete="current-password"),
                )
                unlock_button = gr.Button(tr("Unlock"), min_width=110, scale=0)
            lock_button = gr.Button(tr("Lock again"), visible=False, elem_classes="lab-narrow")
        if rules.sign_in and login_works():
            # Gradio fills the braces with the name.
            sign_out = tr("Sign out ({name})", name="{}")
            gr.LoginButton(tr("Sign in with Hugging Face"), sign_out, size="md", elem_classes="lab-narrow")
    if not rules.password:
        page.load(endpoint(standing, lab), None, said, **QUIET)
        return
    shown = [said, ask, lock_button]
    tell = {"fn": None, "inputs": grant, "outputs": None, "js": TELL}
    for listen in (unlock_button.click, password.submit):
        listen(endpoint(unlock, lab), password, [*shown, password, grant], **QUIET).then(**tell)
    lock_button.click(endpoint(lock, lab), grant, [*shown, grant], **QUIET).then(**tell)
    page.load(endpoint(arrive, lab), grant, shown, **QUIET).then(**tell)


def login_works() -> bool:
    """Whether Gradio's sign-in has the libraries it needs; a Space installs them."""
    try:
        import authlib  # noqa: F401
        import itsdangerous  # noqa: F401
    except ImportError:
        return False
    return True


def describe(lab: Lab, visitor: Visitor) -> str:
    """What the visitor may do here, in a sentence or two."""
    rules = lab.access.rules
    if lab.access.allows(visitor):
        return tr("You may train and change runs here.")
    said = [tr("Looking, comparing and asking are open to everybody.")]
    if rules.sign_in and visitor.profile:
        name = visitor.profile.get("preferred_username")
        said.insert(0, tr("You are signed in as {name}, who does not own this Space.", name=name))
    if rules.sign_in and rules.password:
        way = tr(
            "To train, load, rename, cancel or delete runs, sign in as the owner of this Space or give the password."
        )
    elif rules.sign_in:
        way = tr("To train, load, rename, cancel or delete runs, sign in as the owner of this Space.")
    elif rules.password:
        way = tr("To train, load, rename, cancel or delete runs, give the password.")
    else:
        way = tr(
            "To train, load, rename, cancel or delete runs, the owner of this Space first sets the secret {secret} "
            "in its settings.",
            secret=PASSWORD,
        )
    return " ".join([*said, way])


# Handlers: a Gradio function takes its request by the type of a parameter, so each is a function, not a partial


def standing(lab: Lab, request: gr.Request) -> str:
    """What the visitor may do, as the page opens."""
    return note(describe(lab, visitor_of(request)))


def arrive(lab: Lab, grant: str | None, request: gr.Request) -> tuple[Any, ...]:
    """(what the visitor may do, the password's row, the lock) of a page that opens: its browser may hold a grant."""
    visitor = visitor_of(request)
    given = lab.access.recognise(visitor, grant)
    return _shown(lab, visitor, given=given)


def unlock(lab: Lab, password: str | None, request: gr.Request) -> tuple[Any, ...]:
    """(what the visitor may do, the password's row, the lock, the password, the browser's grant)."""
    visitor = visitor_of(request)
    try:
        grant = lab.access.unlock(visitor, password or "")
    except UserError as error:
        return note(sentence(error), "warning"), *[gr.skip()] * 4
    return *_shown(lab, visitor, given=True), "", grant


def lock(lab: Lab, grant: str | None, request: gr.Request) -> tuple[Any, ...]:
    """(what the visitor may do, the password's row, the lock, no grant)."""
    lab.access.lock(grant)
    return *_shown(lab, visitor_of(request), given=False), None


def _shown(lab: Lab, visitor: Visitor, *, given: bool) -> tuple[Any, ...]:
    allowed = lab.access.allows(visitor)
    return note(describe(lab, visitor)), gr.update(visible=not allowed), gr.update(visible=given)
