"""Runs: train one, open one, and ask it; all that the commands do, in Python."""

from protomask.run.importing import import_official
from protomask.run.opened import Run, open_run
from protomask.run.saving import save_run
from protomask.run.seeds import SeedRuns, train_seeds
from protomask.run.training import train

__all__ = ["Run", "SeedRuns", "import_official", "open_run", "save_run", "train", "train_seeds"]
