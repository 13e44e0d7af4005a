"""How a controller looks as an ONNX file: written, read strictly, and read from strangers.

    obs -Sub-Div-Clip-> state -Gemm-Tanh-> ... -Gemm-> network output -Clip-Mul-Add-> actions

The normaliser, the clip, the layers, the squash and the scale are all inside. ``policy.onnx`` in a
policy folder is the canonical file: it is certified, attacked and deployed byte for byte.

* ``write`` and ``read`` the canonical file; ``sparse`` its sparse form; ``folder`` its folder.
* ``controller``: the bytes of any file to a `ControllerFile`, and the graph cut at the state.
* ``foreign``: files of others; ``operators`` and ``moves`` know the nodes, ``rebuild`` makes a
  policy of their steps.
* ``graph``: bytes to checked protobuf and arrays, for every reader.
"""

from surefoot.onnx_file.controller import (
    ControllerFile,
    controller_from_onnx,
    cut_at_state,
    policy_from_onnx,
)
from surefoot.onnx_file.folder import load_controller_file, load_policy, save_policy
from surefoot.onnx_file.foreign import Interface
from surefoot.onnx_file.graph import (
    INPUT,
    IR_VERSION,
    OPSET,
    OUTPUT,
    POLICY_FILE,
    SPARSE_FILE,
    STATE,
)
from surefoot.onnx_file.sparse import dense_onnx, sparse_onnx
from surefoot.onnx_file.write import policy_to_onnx

__all__ = [
    "INPUT",
    "IR_VERSION",
    "OPSET",
    "OUTPUT",
    "POLICY_FILE",
    "SPARSE_FILE",
    "STATE",
    "ControllerFile",
    "Interface",
    "controller_from_onnx",
    "cut_at_state",
    "dense_onnx",
    "load_controller_file",
    "load_policy",
    "policy_from_onnx",
    "policy_to_onnx",
    "save_policy",
    "sparse_onnx",
]
