"""How a run came to be, where no training made it: its mark in ``config.json``, and what cannot be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protomask.errors import InputError
from protomask.run_folder import RunFolder

ANEW = "start one with another output="
"""what is left where no training ever ran"""
MARKS = {
    "pruned": ("protomask prune", "go on with the run that it came from"),
    "refined": ("protomask refine", "go on with the run that it came from"),
    "imported": ("protomask import-official", ANEW),
    "saved": ("protomask.save_run", ANEW),
}
"""keys of ``config.json``: what made the run, and what can be done instead of resuming a training there"""


def marked(config: Mapping[str, Any], mark: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``config`` with how the run was made behind everything else: the last of several marks made it."""
    return {**{name: value for name, value in config.items() if name != mark}, mark: dict(origin)}


def require_trained(run: RunFolder) -> None:
    """Refuse a run without a training of its own: to train in its folder would overwrite its network.

    Raises:
        InputError: it was made otherwise.
    """
    config = run.read("config.json") or {}
    found = [MARKS[name] for name in config if name in MARKS]
    if not found and _was_saved(run):
        found = [MARKS["saved"]]
    if found:
        how, mend = found[-1]
        # What was pruned or refined of a network that was never trained here has nothing to go back to, either.
        mend = ANEW if any(other == ANEW for _, other in found) else mend
        raise InputError(f"{run.folder} was made by {how}, so there is no training to resume; {mend}")


def _was_saved(run: RunFolder) -> bool:
    """Recognise what ``save_run`` wrote before it left a mark: a network, and neither checkpoint nor epochs.

    A training that was killed early has no network yet; one whose checkpoints were deleted still has epochs in its log.
    """
    if not run.has("model.safetensors") or run.has("checkpoint/state.pt") or run.has("checkpoint/state.previous.pt"):
        return False
    return not any("epoch" in row for row in run.read("log.jsonl") or [])
