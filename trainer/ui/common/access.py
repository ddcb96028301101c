"""The Gradio part of `trainer.machine.access`: the sender of a request, the guard of handlers, and signing in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

import gradio as gr

from trainer.errors import UserError, sentence
from trainer.machine.access import PASSWORD, Visitor
from trainer.texts import tr
from trainer.ui.common import log
from trainer.ui.common.faults import Sentence
from trainer.ui.common.lab import Lab, endpoint, note
from trainer.ui.common.visibility import seen_if

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
COOKIE = "peft-lab-grant"
"""The cookie of a browser that gave the password, for uploads, which have no page session."""
SET_COOKIE = "(grant) => labGrant(grant)"
"""`js` of an event with the grant as its input; page.js has the function."""
_PERSON: ContextVar[str] = ContextVar("person", default="this machine")


@dataclass(frozen=True)
class Controls:
    """The components of the password's form, and this browser's grant."""

    message: gr.HTML
    row: gr.Row
    password: gr.Textbox
    unlock: gr.Button
    lock: gr.Button
    grant: gr.BrowserState


def visitor_of(request: gr.Request | None) -> Visitor:
    """The sender of a request."""
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


def current_person() -> str:
    """Who sent the request that is being handled, for counts of what one person does."""
    return _PERSON.get()


def inner_name(function: Any) -> str:
    """The name of a handler, below what is wrapped around it for Gradio."""
    function = getattr(function, "guards", function)
    while isinstance(function, partial):
        function = function.args[0] if function.args and callable(function.args[0]) else function.func
    return getattr(function, "__name__", type(function).__name__)


def guarded(
    lab: Lab, function: Callable[..., Any], *, message: gr.HTML | None = None, adds: bool = False
) -> Callable[..., Any]:
    """A handler that calls `function` for visitors who may change runs; others get one sentence in `message`.

    `message` may be left out where the listener has one output. With `adds`, a handler that brings files into the
    store, a full store is refused too. Every listener that changes something is wrapped in this; a test checks all
    listeners of the app.
    """

    def call(request: gr.Request, *values: Any) -> Any:
        visitor = visitor_of(request)
        name, run = inner_name(function), next((one for one in values if isinstance(one, str)), "")
        facts = {"run": run if run in lab.run_ids() else "", "by": visitor.person}
        try:
            lab.access.require(visitor)
            if adds:
                lab.ledger.require_room()
        except UserError as error:
            log.event("refused", handler=name, **facts, message=str(error))
            refusal = note(sentence(error), "warning")
            return refusal if message is None else {message: refusal}
        log.event(name, **facts)
        _PERSON.set(visitor.person)
        return function(*values)

    update_wrapper(call, function)
    call.__annotations__ = {"request": gr.Request}  # by which Gradio finds the parameter for the request
    del call.__wrapped__
    call.guards = function
    return call


def may_change(lab: Lab, request: gr.Request) -> bool:
    """Whether the sender of a request may change runs."""
    return lab.access.rules.open or lab.access.allows(visitor_of(request))


def require(lab: Lab, request: gr.Request | None, password: str | None) -> None:
    """The guard of an endpoint for other programs: raises `Sentence` for a sender who may not change runs."""
    visitor = visitor_of(request)
    try:
        lab.access.require(visitor, password, program=True)
    except UserError as error:
        raise Sentence(str(error)) from None
    _PERSON.set(visitor.person)


def state() -> gr.BrowserState:
    """This browser's grant; call outside the tabs: in one that is not open it is read after the page's load event."""
    # Gradio encrypts what the browser stores, but sends every browser this key: it is no secret. The grant is safe
    # because only its own browser has it, and it expires.
    return gr.BrowserState(None, storage_key="peft-lab-grant", secret="known to every browser")


def build(lab: Lab, page: gr.Blocks, grant: gr.BrowserState) -> None:
    """Lay out what a visitor may do, the password's form and the sign-in; nothing where everything is open."""
    rules = lab.access.rules
    if rules.open:
        return
    with gr.Column(variant="panel", elem_id="lab-access"):
        message = gr.HTML()
        controls = _password(message, grant) if rules.password else None
        if rules.sign_in and login_works():
            # Gradio fills the braces with the name.
            sign_out = tr("Sign out ({name})", name="{}")
            gr.LoginButton(tr("Sign in with Hugging Face"), sign_out, size="md", elem_classes="lab-narrow")
    if controls is None:
        page.load(endpoint(standing, lab), None, message, **QUIET)
    else:
        _connect(lab, page, controls)


def _password(message: gr.HTML, grant: gr.BrowserState) -> Controls:
    """Lay out the password's row and the button that revokes the grant."""
    with gr.Row(**seen_if(True, "lab-ask")) as row:
        password = gr.Textbox(
            label=tr("Password"),
            type="password",
            max_length=200,
            min_width=180,
            html_attributes=gr.InputHTMLAttributes(autocomplete="current-password"),
        )
        unlock_button = gr.Button(tr("Unlock"), min_width=110, scale=0)
    lock_button = gr.Button(tr("Lock again"), **seen_if(False, "lab-narrow"))
    return Controls(message, row, password, unlock_button, lock_button, grant)


def _connect(lab: Lab, page: gr.Blocks, controls: Controls) -> None:
    shown = [controls.message, controls.row, controls.lock]
    cookie = {"fn": None, "inputs": controls.grant, "outputs": None, "js": SET_COOKIE}
    for listen in (controls.unlock.click, controls.password.submit):
        handler = endpoint(unlock, lab, controls)
        listen(handler, controls.password, [*shown, controls.password, controls.grant], **QUIET).then(**cookie)
    controls.lock.click(endpoint(lock, lab, controls), controls.grant, [*shown, controls.grant], **QUIET).then(**cookie)
    page.load(endpoint(arrive, lab, controls), controls.grant, shown, **QUIET).then(**cookie)


def login_works() -> bool:
    """Whether the libraries of Gradio's sign-in are installed; a Space installs them."""
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
    lines = [tr("Looking, comparing and predicting are open to everybody.")]
    if rules.sign_in and visitor.profile:
        name = visitor.profile.get("preferred_username")
        lines.insert(0, tr("You are signed in as {name}, who does not own this Space.", name=name))
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
    return " ".join([*lines, way])


# Handlers. Gradio finds the parameter for the request by its type, so each is a function, not a partial


def standing(lab: Lab, request: gr.Request) -> str:
    """What the visitor may do, in HTML, when the page opens."""
    return note(describe(lab, visitor_of(request)))


def arrive(lab: Lab, controls: Controls, grant: str | None, request: gr.Request) -> dict[Any, Any]:
    """What the visitor may do, when a page opens whose browser may have stored a grant."""
    visitor = visitor_of(request)
    return _shown(lab, controls, visitor, granted=lab.access.recognise(visitor, grant))


def unlock(lab: Lab, controls: Controls, password: str | None, request: gr.Request) -> dict[Any, Any]:
    """A grant for the browser of a visitor who typed the password, or an error sentence."""
    visitor = visitor_of(request)
    try:
        grant = lab.access.unlock(visitor, password or "")
    except UserError as error:
        return {controls.message: note(sentence(error), "warning")}
    return {**_shown(lab, controls, visitor, granted=True), controls.password: "", controls.grant: grant}


def lock(lab: Lab, controls: Controls, grant: str | None, request: gr.Request) -> dict[Any, Any]:
    """Revoke the browser's grant."""
    lab.access.lock(grant)
    return {**_shown(lab, controls, visitor_of(request), granted=False), controls.grant: None}


def _shown(lab: Lab, controls: Controls, visitor: Visitor, *, granted: bool) -> dict[Any, Any]:
    """What the visitor may do; the password's row is visible without the right, the lock button with a grant."""
    return {
        controls.message: note(describe(lab, visitor)),
        controls.row: gr.update(**seen_if(not lab.access.allows(visitor), "lab-ask")),
        controls.lock: gr.update(**seen_if(granted, "lab-narrow")),
    }
