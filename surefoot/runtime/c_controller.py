"""Generated C as a backend: compiled for this machine at first use, called through ctypes."""

import ctypes

import numpy as np

from surefoot.errors import CheckError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array
from surefoot.runtime.c_compiler import compile_library
from surefoot.runtime.c_layers import Machine
from surefoot.runtime.c_source import SOURCE_FILE, CConfig, c_source

_FOR_THIS_MACHINE = CConfig(machine=Machine.PC)
_GLUE_FILE = "batch.c"
_GLUE = b"""\
#define POLICY_SELF_TEST
#include "policy.c"

size_t surefoot_state_bytes(void);
typedef struct {
    policy_state *state;
    size_t rows;
    const float *in;
    float *out;
} batch;

void surefoot_batch(const batch *b);
void surefoot_batch_at_state(const batch *b);

size_t surefoot_state_bytes(void)
{
    return sizeof(policy_state);
}

/* A bad observation has no actions: all bits of their bytes are one, which is NaN. */
static void mark(int code, float *actions)
{
    if (code == POLICY_BAD_OBSERVATION) {
        (void)memset(actions, 0xff, POLICY_NUM_ACTIONS * sizeof *actions);
    }
}

void surefoot_batch(const batch *b)
{
    size_t i;
    for (i = 0u; i < b->rows; ++i) {
        const float *in = &b->in[i * POLICY_NUM_OBS];
        float *out = &b->out[i * POLICY_NUM_ACTIONS];
        mark(policy_actions(b->state, in, out), out);
    }
}

void surefoot_batch_at_state(const batch *b)
{
    size_t i;
    for (i = 0u; i < b->rows; ++i) {
        const float *in = &b->in[i * POLICY_NUM_OBS];
        float *out = &b->out[i * POLICY_NUM_ACTIONS];
        mark(policy_actions_at_state(b->state, in, out), out);
    }
}
"""


class CEngine:
    """Computes a controller file with the C that is generated from it.

    The layouts are chosen for a PC; those of an exported ``policy.c`` may differ, its bits do not.
    """

    name = "c"

    def __init__(self, file: ControllerFile, config: CConfig = _FOR_THIS_MACHINE) -> None:
        """Generate, compile and load the C, and run its self-test.

        Args:
            file: A controller file.
            config: How the C is laid out.

        Raises:
            MissingLibraryError: If there is no compiler.
            CheckError: If it does not compile, or does not compute what the generator did.
        """
        self.obs_dim = file.policy.obs_dim
        self.num_outputs = file.policy.num_outputs
        source = c_source(file.policy, config)
        self.size_bytes = source.report.flash_bytes
        path = compile_library({**source.files, _GLUE_FILE: _GLUE}, _GLUE_FILE)
        # PyDLL holds the interpreter's lock: a call is shorter than giving it up and back.
        library = ctypes.PyDLL(str(path))
        library.surefoot_state_bytes.restype = ctypes.c_size_t
        size = library.surefoot_state_bytes()
        self._memory = np.zeros(-(-size // 8), np.uint64)
        self._pointer = ctypes.c_void_p(self._memory.ctypes.data)
        self._at_obs = _Batches(library, "surefoot_batch", self._pointer, self)
        self._at_state = _Batches(library, "surefoot_batch_at_state", self._pointer, self)
        self._self_test(library)

    def infer(self, obs: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 observations."""
        return self._at_obs(obs)

    def infer_from_state(self, state: Array) -> Array:
        """Return outputs, shape (batch, num_outputs), for C-contiguous float32 states."""
        return self._at_state(state)

    def _self_test(self, library: ctypes.CDLL) -> None:
        largest = ctypes.c_float()
        code = library.policy_self_test(self._pointer, ctypes.byref(largest))
        if code:
            raise CheckError(
                f"{SOURCE_FILE} fails its self-test on this machine with code {code}, "
                f"largest difference {largest.value:.3g}"
            )


class _Batch(ctypes.Structure):
    """What a call works on; one argument takes ctypes half as long as four."""

    _fields_ = (
        ("state", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("in_", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    )


class _Batches:
    """One function with memory for the last batch size, so that a call passes a pointer only."""

    def __init__(
        self, library: ctypes.CDLL, name: str, state: ctypes.c_void_p, engine: CEngine
    ) -> None:
        function = getattr(library, name)
        function.restype = None
        self._function, self._state = function, state
        self._widths = engine.obs_dim, engine.num_outputs
        self._rows = 0

    def __call__(self, inputs: Array) -> Array:
        if len(inputs) != self._rows:
            self._allocate(len(inputs))
        np.copyto(self._inputs, inputs)
        self._function(self._argument)
        return self._outputs.copy()

    def _allocate(self, rows: int) -> None:
        self._rows = rows
        self._inputs = np.zeros((rows, self._widths[0]), np.float32)
        self._outputs = np.zeros((rows, self._widths[1]), np.float32)
        addresses = self._inputs.ctypes.data, self._outputs.ctypes.data
        self._batch = _Batch(self._state, rows, *addresses)
        self._argument = ctypes.byref(self._batch)
