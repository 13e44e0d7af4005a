"""How a controller looks as an ONNX file: written, read strictly, and read from others.

    obs -Sub-Div-Clip-> state -Gemm-Tanh-> ... -Gemm-> network output -Clip-Mul-Add-> actions

The normaliser, the clip, the layers, the squash and the scale are all inside. ``policy.onnx`` in a
policy folder is the canonical file: it is certified, attacked and deployed byte for byte.

* ``write`` and ``read`` the canonical file, ``structure`` which of its numbers are weights;
  ``sparse`` its sparse form; ``folder`` its folder.
* ``controller``: the bytes of a canonical file to a `ControllerFile`, and its graph cut at the
  state.
* ``foreign``: files of others, to a `ForeignFile`, of which :mod:`surefoot.runtime.controller_file`
  makes a `ControllerFile` once a runtime has agreed. ``external`` reads the constants that lie
  beside a file, ``interface`` its inputs and outputs. ``operators`` makes a ``computation`` of its
  nodes (``products``, ``pointwise``) and leaves constants to ``evaluate``. ``rebuild`` makes a
  policy of that: ``split_limits`` joins the halves of a clip, ``idle_limits`` drops what limits
  nothing, ``ends`` finds normaliser and head, ``units`` the layers, ``linear`` joins elementwise
  affine maps, ``finite`` says what may be multiplied by zero.
* ``choices``: the logits of a controller that chooses.
* ``description``: what others say in a file about their robot; ``leapp``: beside it.
* ``graph``: bytes to checked protobuf and arrays, for every reader.
"""

from surefoot.onnx_file.controller import (
    Adopted,
    Agreement,
    ControllerFile,
    InputPart,
    Origin,
    cut_at_state,
    policy_from_onnx,
    read_onnx,
)
from surefoot.onnx_file.description import Description
from surefoot.onnx_file.folder import load_policy, read_beside, read_path, save_policy
from surefoot.onnx_file.foreign import ForeignFile, Original
from surefoot.onnx_file.graph import (
    INPUT,
    IR_VERSION,
    OPSET,
    OUTPUT,
    POLICY_FILE,
    SPARSE_FILE,
    STATE,
)
from surefoot.onnx_file.interface import Input, Interface, feeds
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
    "Adopted",
    "Agreement",
    "ControllerFile",
    "Description",
    "ForeignFile",
    "Input",
    "InputPart",
    "Interface",
    "Origin",
    "Original",
    "cut_at_state",
    "dense_onnx",
    "feeds",
    "load_policy",
    "policy_from_onnx",
    "policy_to_onnx",
    "read_beside",
    "read_onnx",
    "read_path",
    "save_policy",
    "sparse_onnx",
]
