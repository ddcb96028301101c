"""The lock of this process under which models are built: libraries are not safe to build two at once."""

from __future__ import annotations

import threading

BUILDING = threading.Lock()
