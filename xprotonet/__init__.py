"""XProtoNet: prototypes compared with features pooled under learned occurrence maps (Kim et al., CVPR 2021)."""

from xprotonet.model import XProtoNet

__all__ = ["XProtoNet"]
