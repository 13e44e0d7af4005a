"""The generated gate at work on this machine: compiled with its controller, called by ctypes."""

import ctypes
from collections.abc import Callable

import numpy as np

from surefoot.errors import CheckError
from surefoot.gate import NUM_EVENTS, Cause, Code, Event, GateFile
from surefoot.gate.arrays import Float32
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array
from surefoot.runtime.c_compiler import compile_library
from surefoot.runtime.c_gate import GATE_SOURCE_FILE, c_gate_source
from surefoot.runtime.c_source import CConfig, c_source

_GLUE_FILE = "gated.c"
_GLUE = b"""\
#define POLICY_SELF_TEST
#include "policy.c"
#include "policy_gate.c"

static policy_state state;
static policy_gate gate;
uint32_t surefoot_num_events(void);
void surefoot_start(policy_fallback fallback, uint32_t num_calls);
int surefoot_call(const float *obs, uint32_t now, uint32_t taken, float *actions);
void surefoot_event(uint32_t age, uint32_t *event);
int surefoot_test(void);

uint32_t surefoot_num_events(void)
{
    return gate.num_events;
}

void surefoot_start(policy_fallback fallback, uint32_t num_calls)
{
    policy_gate_reset(&gate);
    gate.fallback = fallback;
    gate.num_calls = num_calls;
    gate.num_events = num_calls;
}

int surefoot_call(const float *obs, uint32_t now, uint32_t taken, float *actions)
{
    return policy_gated_actions(&state, &gate, obs, now, taken, actions);
}

void surefoot_event(uint32_t age, uint32_t *event)
{
    const uint32_t place = gate.next_event + (2u * POLICY_GATE_NUM_EVENTS) - 1u - age;
    const policy_event *found = &gate.events[place % POLICY_GATE_NUM_EVENTS];
    event[0] = found->call;
    event[1] = found->cause;
    event[2] = found->index;
}

int surefoot_test(void)
{
    return policy_gate_self_test(&state, &gate);
}
"""


_Fallback = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_float)
)


class CGate:
    """A controller behind its gate, both in generated C; one robot for each compiled library.

    Attributes:
        file: The gate.
    """

    def __init__(self, controller: ControllerFile, file: GateFile, config: CConfig) -> None:
        """Generate, compile and load the C, and run the self-test of the gate.

        Args:
            controller: A controller file.
            file: Its gate.
            config: How the C is laid out.

        Raises:
            MissingLibraryError: If there is no compiler.
            CheckError: If it does not compile, or decides otherwise than the generator did.
        """
        self.file = file
        self._widths = controller.policy.obs_dim, controller.policy.num_outputs
        files = c_source(controller.policy, config).files | c_gate_source(controller.policy, file)
        library = compile_library({**files, _GLUE_FILE: _GLUE}, _GLUE_FILE)
        self._library = ctypes.PyDLL(str(library))
        self._library.surefoot_num_events.restype = ctypes.c_uint32
        if wrong := self._library.surefoot_test():
            raise CheckError(f"{GATE_SOURCE_FILE} fails its self-test on this machine at {wrong}")
        self._fallback = _Fallback()

    def start(self, fallback: Float32 | None = None, num_before: int = 0) -> None:
        """Start again.

        Args:
            fallback: Action that the user's function gives, shape (num_outputs,); None for no
                function.
            num_before: Where the counters of calls and events start.
        """
        # A pointer that C keeps must be kept alive here.
        self._fallback = _Fallback() if fallback is None else _Fallback(_giving(fallback))
        self._library.surefoot_start(self._fallback, ctypes.c_uint32(num_before))

    def step(self, obs: Array, now_us: int, taken_us: int) -> tuple[Code, Float32 | None]:
        """Decide about one call, as `Watch.step` does.

        Args:
            obs: Observation, raw units, float32, shape (obs_dim,).
            now_us: Time of the call.
            taken_us: Time of the observation.
        """
        reading = np.ascontiguousarray(obs, np.float32)
        actions = np.zeros(self._widths[1], np.float32)
        code = self._library.surefoot_call(
            ctypes.c_void_p(reading.ctypes.data),
            ctypes.c_uint32(now_us),
            ctypes.c_uint32(taken_us),
            ctypes.c_void_p(actions.ctypes.data),
        )
        has_action = code in (Code.PASSED, Code.HELD, Code.FELL_BACK)
        return Code(code), actions if has_action else None

    @property
    def num_events(self) -> int:
        """Calls that broke a limit so far."""
        return int(self._library.surefoot_num_events())

    @property
    def events(self) -> tuple[Event, ...]:
        """The last events, the oldest first."""
        found = []
        for age in reversed(range(NUM_EVENTS)):
            words = np.zeros(3, np.uint32)
            self._library.surefoot_event(age, ctypes.c_void_p(words.ctypes.data))
            call, cause, index = words.tolist()
            if cause:
                found.append(Event(call, Cause(cause), index))
        return tuple(found)


def _giving(action: Float32) -> Callable[[object, object, "ctypes._Pointer[ctypes.c_float]"], None]:
    """Return the function of a user that gives one action whatever it sees."""

    def give(_user: object, _obs: object, actions: "ctypes._Pointer[ctypes.c_float]") -> None:
        for number, value in enumerate(action.tolist()):
            actions[number] = value

    return give
