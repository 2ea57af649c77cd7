"""Readers of files that others wrote: they execute nothing in a file and know no network."""

from protomask.importing.inert_pickle import Inert, Name, UnreadablePickle
from protomask.importing.model_files import ModelFile, read_model
from protomask.importing.torch_files import TorchFile
from protomask.importing.torch_pickles import Stored

__all__ = ["Inert", "ModelFile", "Name", "Stored", "TorchFile", "UnreadablePickle", "read_model"]
