"""What the page is answered in: JSON that can hold any file's name."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse


class Answer(JSONResponse):
    """Answer in JSON of ASCII alone: names of files need not be UTF-8, and what they hold then cannot be encoded."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
