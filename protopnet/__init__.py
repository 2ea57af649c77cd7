"""ProtoPNet: classification by similarity to prototypical patches (Chen et al., NeurIPS 2019)."""

from protopnet.model import ProtoPNet

__all__ = ["ProtoPNet"]
