"""GET /health: the app's device and state, for monitoring. Open to everybody; contains no paths."""

from __future__ import annotations

from typing import Any

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from trainer.ui.common.lab import Lab

PATH = "/health"


def middleware(lab: Lab) -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": ...})`: Gradio's own routes would take this path."""
    return [Middleware(Health, lab=lab)]


def state(lab: Lab) -> dict[str, Any]:
    """The route's response. Before torch is imported the device is unknown, and the app is not ready."""
    detected = lab.device
    device = detected and {"kind": detected.kind, "name": detected.name, "precision": detected.precisions[0]}
    return {"ready": lab.warm, "device": device, "problem": lab.problem}


class Health:
    """Middleware that responds from memory, without waiting for the app's other work."""

    def __init__(self, app: ASGIApp, lab: Lab) -> None:
        self.app, self.lab = app, lab

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a GET or HEAD of the path; pass every other request on."""
        matches = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] == PATH
        if not matches:
            await self.app(scope, receive, send)
            return
        await JSONResponse(state(self.lab), headers={"Cache-Control": "no-store"})(scope, receive, send)
