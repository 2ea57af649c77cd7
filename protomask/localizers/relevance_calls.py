"""Which function calls get which rule of relevance propagation, by the names that torch gives them."""

from __future__ import annotations

SAME = {
    "iadd": "add",
    "radd": "add",
    "imul": "mul",
    "rmul": "mul",
    "multiply": "mul",
    "isub": "sub",
    "rsub": "sub",
    "subtract": "sub",
    **dict.fromkeys(["idiv", "itruediv", "truediv", "true_divide", "divide", "rdiv", "rtruediv"], "div"),
    "rmatmul": "matmul",
    "ipow": "pow",
    "rpow": "pow",
    "square": "pow",
    "clip": "clamp",
}
"""other names of a function"""
PROPORTIONAL = {
    *("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
}
"""linear without weights: an input's share is its share of the output"""
WEIGHTED = {"linear", "matmul", "mm", "bmm", "einsum", "conv1d", "conv2d", "conv3d"}
"""linear with weights of the network, called as functions: the epsilon rule, as for linear layers"""
PASSED = {
    *("relu", "relu6", "hardtanh", "leaky_relu", "elu", "silu", "mish", "gelu", "hardswish", "hardsigmoid", "sigmoid"),
    *(
        "prelu",
        "selu",
        "celu",
        "rrelu",
        "softplus",
        "softsign",
        "logsigmoid",
        "log_sigmoid",
        "tanhshrink",
        "hardshrink",
        "softshrink",
    ),
    *("threshold", "tanh", "clamp", "clamp_min", "clamp_max", "abs", "neg", "sqrt", "rsqrt", "pow", "exp", "log"),
    *("log1p", "expm1", "reciprocal", "nan_to_num", "batch_norm", "local_response_norm", "normalize", "dropout"),
    *("dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "div", "sub", "mul", "add"),
}
"""elementwise with one input, or nearly so: the relevance passes as it is"""
UNRULED = {"layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm", "native_group_norm"}
"""what an image's own values divide by their size: relevances would cancel to nothing"""
MOVED = {
    *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "reshape", "reshape_as", "view", "view_as"),
    *("flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute", "t", "movedim", "moveaxis", "swapaxes"),
    *("swapdims", "getitem", "select", "narrow", "index_select", "gather", "take_along_dim", "chunk", "split"),
    *("split_with_sizes", "tensor_split", "unbind", "expand", "expand_as", "repeat", "tile", "repeat_interleave"),
    *("roll", "flip", "rot90", "pad", "contiguous", "clone", "to", "float", "double", "half", "bfloat16", "type"),
    *("type_as", "cuda", "cpu", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d"),
    *("adaptive_max_pool2d", "adaptive_max_pool3d", "max", "amax", "min", "amin", "maximum", "minimum", "fmax", "fmin"),
    *("topk", "sort", "where", "masked_fill", "masked_select", "interpolate", "upsample", "pixel_shuffle"),
    *("pixel_unshuffle", "channel_shuffle", "fold", "unfold", "diagonal", "detach", "requires_grad", "get"),
    *("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices", "as_strided", "identity"),
}
"""what only moves values, chooses among them or spreads them: the gradient hands on all of the relevance"""
