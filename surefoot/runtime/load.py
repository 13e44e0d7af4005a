"""From a bundle, or a controller file, to a controller that is ready to run."""

from enum import StrEnum

import numpy as np

from surefoot.bundle import Bundle
from surefoot.certificate import Certificate
from surefoot.errors import InputError, VerificationError
from surefoot.gate.watch import UserFunction
from surefoot.onnx_file import ControllerFile
from surefoot.runtime.arithmetic import ARITHMETIC, ARITHMETIC_TAU
from surefoot.runtime.c_controller import CEngine
from surefoot.runtime.controller import CheckedController, Engine, OnBadObservation
from surefoot.runtime.gated import GatedController
from surefoot.runtime.numpy_controller import NumpyEngine
from surefoot.runtime.onnx_controller import CUDA_PROVIDER, TENSORRT_PROVIDER, OnnxEngine
from surefoot.runtime.tensorrt_controller import TensorRtEngine

_WARM_UP_CALLS = 8


class Backend(StrEnum):
    """What computes a controller."""

    NUMPY = "numpy"
    ONNX = "onnx"
    ONNX_SPARSE = "onnx-sparse"
    ONNX_CUDA = "onnx-cuda"
    ONNX_TENSORRT = "onnx-tensorrt"
    TENSORRT = "tensorrt"
    C = "c"


def load_controller(
    bundle: Bundle,
    backend: Backend,
    on_bad_observation: OnBadObservation = OnBadObservation.RAISE,
    *,
    fallback: UserFunction | None = None,
) -> CheckedController:
    """Return the controller of a bundle, warmed up; behind its gate, if the bundle has one.

    Args:
        bundle: Bundle that :func:`surefoot.bundle.open_bundle` accepted.
        backend: Engine that computes it; no other is ever used instead.
        on_bad_observation: Answer to NaN, infinity or a wrong shape, where no gate has one.
        fallback: Function of the user's for a gate that falls back: from an observation, shape
            (obs_dim,), which may hold NaN, to an action, shape (num_outputs,).

    Returns:
        A `GatedController` if the bundle has a gate.

    Raises:
        VerificationError: If the certificate is about another arithmetic than these backends have.
        MissingLibraryError: If the backend's library or device is not there.
        InputError: If the gate falls back and there is no function, or an answer is given that the
            bundle leaves no room for.
    """
    require_arithmetic(bundle.certificate)
    checked = controller_of(bundle.controller, backend, on_bad_observation)
    if bundle.gate is None:
        if fallback is not None:
            raise InputError("fallback is of no effect: the bundle has no gate")
        return checked
    if on_bad_observation is not OnBadObservation.RAISE:
        raise InputError(
            f"on_bad_observation must be left out, got {on_bad_observation}: the bundle's gate "
            "says what follows"
        )
    return GatedController(checked.engine, bundle.gate.gate, fallback)


def require_arithmetic(certificate: Certificate) -> None:
    """Refuse a certificate about an arithmetic that no backend has.

    Whatever runs a controller together with its certificate asks here first: the rounding term of
    one arithmetic says nothing about another.

    Args:
        certificate: Certificate of the controller that is to run.

    Raises:
        VerificationError: If it is about another arithmetic than the backends have.
    """
    if certificate.arithmetic not in ARITHMETIC_TAU:  # the others allow what float32 does, and more
        raise VerificationError(
            f"the certificate is about arithmetic {certificate.arithmetic!r}, "
            f"the runtime has {ARITHMETIC!r}"
        )


def controller_of(
    file: ControllerFile,
    backend: Backend,
    on_bad_observation: OnBadObservation = OnBadObservation.RAISE,
) -> CheckedController:
    """Return the controller of a file that is in no bundle (yet), warmed up at its mean.

    Args:
        file: A controller file.
        backend: Engine that computes it; no other is ever used instead.
        on_bad_observation: Answer to NaN, infinity or a wrong shape.

    Raises:
        MissingLibraryError: If the backend's library or device is not there.
        InputError: If the backend refuses the file.
    """
    engine = _engine(file, backend)
    mean = file.policy.normaliser.mean.astype(np.float32)[None]
    for _ in range(_WARM_UP_CALLS):
        engine.infer(mean)
    return CheckedController(engine, on_bad_observation)


def _engine(file: ControllerFile, backend: Backend) -> Engine:
    match backend:
        case Backend.NUMPY:
            return NumpyEngine(file)
        case Backend.ONNX | Backend.ONNX_SPARSE:
            return OnnxEngine(file, backend)
        case Backend.ONNX_CUDA:
            return OnnxEngine(file, backend, CUDA_PROVIDER)
        case Backend.ONNX_TENSORRT:
            return OnnxEngine(file, backend, TENSORRT_PROVIDER)
        case Backend.TENSORRT:
            return TensorRtEngine(file)
        case Backend.C:
            return CEngine(file)
