"""What TensorRT needs of CUDA, straight from the driver library: probe, memory, stream, graph.

Nothing of CUDA is loaded into this process before a child process has seen a device: on a machine
without driver, TensorRT's runtime crashes instead of failing.
"""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Protocol

from surefoot.errors import MissingLibraryError
from surefoot.policy import Array

_PROBE = """
import ctypes
cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
codes = cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(count))
print(count.value if codes == (0, 0) else 0)
"""
_PROBE_TIMEOUT_S = 30
_CAPTURE_THREAD_LOCAL = 1


@cache
def num_cuda_devices() -> int:
    """Count the CUDA devices, in a child process."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return 0
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else 0


def require_device(backend: str) -> None:
    """Check that there is a CUDA device.

    Raises:
        MissingLibraryError: If there is none.
    """
    if num_cuda_devices() == 0:
        raise MissingLibraryError(
            f"backend {backend} needs an NVIDIA GPU with its driver: libcuda.so.1 finds no device"
        )


class Device(Protocol):
    """A stream on a device, with memory for one input and one output."""

    @property
    def name(self) -> str:
        """Model of the device and its compute capability."""

    @property
    def stream(self) -> int:
        """Handle of the stream."""

    def allocate(self, num_bytes: int) -> int:
        """Return the address of new memory on the device."""

    def to_device(self, address: int, array: Array) -> None:
        """Copy a C-contiguous array to the device, in the stream."""

    def from_device(self, array: Array, address: int) -> None:
        """Copy to a C-contiguous array from the device, in the stream."""

    def synchronise(self) -> None:
        """Wait until the stream is empty."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the launches of ``work`` as a graph, and return a function that runs it."""


class CudaDevice:
    """Device 0 through libcuda."""

    def __init__(self) -> None:
        """Take the primary context of device 0.

        Raises:
            MissingLibraryError: If the driver does not give it.
        """
        require_device("tensorrt")
        self._cuda = ctypes.CDLL("libcuda.so.1")
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), 1)  # not blocked by stream 0
        self.name = self._describe(device)
        self.stream = stream.value or 0

    def allocate(self, num_bytes: int) -> int:
        """Return the address of new memory on the device."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(num_bytes))
        return address.value

    def to_device(self, address: int, array: Array) -> None:
        """Copy a C-contiguous array to the device, in the stream."""
        host, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), host, size, self._handle())

    def from_device(self, array: Array, address: int) -> None:
        """Copy to a C-contiguous array from the device, in the stream."""
        host, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", host, ctypes.c_uint64(address), size, self._handle())

    def synchronise(self) -> None:
        """Wait until the stream is empty."""
        self._call("cuStreamSynchronize", self._handle())

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the launches of ``work`` as a graph, and return a function that runs it."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._handle(), _CAPTURE_THREAD_LOCAL)
        work()
        self._call("cuStreamEndCapture", self._handle(), ctypes.byref(graph))
        flags = ctypes.c_uint64(0)
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, flags)
        return lambda: self._call("cuGraphLaunch", executable, self._handle())

    def _handle(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.stream)

    def _describe(self, device: ctypes.c_int) -> str:
        name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetName", name, 256, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(major), 75, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), 76, device)
        return f"{name.value.decode()} sm_{major.value}{minor.value}"

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._cuda, function)(*arguments)
        if code:
            raise MissingLibraryError(f"CUDA cannot be used: {function} returned error {code}")
