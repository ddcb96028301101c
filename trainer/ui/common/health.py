"""GET /health: what this app computes on, for whoever watches over it. Open to everybody; names no paths."""

from __future__ import annotations

from typing import Any

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from trainer.ui.common.lab import Lab

PATH = "/health"


def middleware(lab: Lab) -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": ...})`: Gradio's own routes take every other path of one part."""
    return [Middleware(Health, lab=lab)]


def state(lab: Lab) -> dict[str, Any]:
    """What the route answers. Before torch is imported the device is not known, and the app is not ready."""
    found = lab.device
    device = found and {"kind": found.kind, "name": found.name, "precision": found.precisions[0]}
    return {"ready": lab.warm, "device": device, "problem": lab.problem}


class Health:
    """Answers the route from memory, without waiting for what else the app does."""

    def __init__(self, app: ASGIApp, lab: Lab) -> None:
        self.app, self.lab = app, lab

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET or HEAD of the path; hand everything else on."""
        asked = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] == PATH
        if not asked:
            await self.app(scope, receive, send)
            return
        await JSONResponse(state(self.lab), headers={"Cache-Control": "no-store"})(scope, receive, send)
