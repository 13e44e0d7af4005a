"""Laws of every controller: what computes it does not show, apart from the last bits.

Also of ``runtime/numpy_controller.py``.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import file_of, random_policy
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Array, Squash
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.controller import CheckedController, Controller, OnBadObservation
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.numpy_controller import NumpyEngine

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc")
BACKENDS = [Backend.NUMPY, Backend.ONNX, pytest.param(Backend.C, marks=NEEDS_COMPILER)]
ALL_BACKENDS = [*BACKENDS, Backend.ONNX_SPARSE]
OBS_DIM, NUM_OUTPUTS = 5, 2


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    """A policy that is thin enough to have a sparse form."""
    rng = np.random.default_rng(0)
    policy = random_policy(rng, (OBS_DIM, 40, 40, NUM_OUTPUTS))
    policy.layers[1].weight[rng.random((40, 40)) < 0.95] = 0
    return file_of(policy)


def draw(rows: int, seed: int = 0, spread: float = 3.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, (rows, OBS_DIM)).astype(np.float32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_says_its_name_and_sizes(file: ControllerFile, backend: Backend) -> None:
    controller: Controller = controller_of(file, backend)
    assert controller.name == backend.value
    assert (controller.obs_dim, controller.num_outputs) == (OBS_DIM, NUM_OUTPUTS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_means_the_same_in_every_batch(file: ControllerFile, backend: Backend) -> None:
    # To the last bit only within a batch size; between them within the rounding of the runtime.
    controller = controller_of(file, backend)
    bound = 2 * runtime_error(file.policy, state_limit=10.0)
    obs = draw(64)
    together = controller(obs)
    assert together.shape == (64, NUM_OUTPUTS)
    assert together.dtype == np.float32
    for rows in (1, 3, 64, 1):
        parts = [controller(part) for part in np.array_split(obs, 64 // rows)]
        assert (np.abs(np.concatenate(parts) - together) <= bound).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_entry_after_the_normaliser_is_the_rest_of_the_same_function(
    file: ControllerFile, backend: Backend
) -> None:
    controller = controller_of(file, backend)
    obs = draw(32, spread=30.0)
    bound = 2 * runtime_error(file.policy, state_limit=10.0)
    states = file.policy.state(obs, np.float32)
    assert (np.abs(states) == 10).any()
    assert (np.abs(controller.from_state(states) - controller(obs)) <= bound).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_is_not_clipped_again(backend: Backend) -> None:
    policy = random_policy(
        np.random.default_rng(1), (OBS_DIM, NUM_OUTPUTS), squash=Squash.IDENTITY, clip=1.0
    )
    controller = controller_of(file_of(policy), backend)
    inside, outside = np.full((2, 1, OBS_DIM), [[[1.0]], [[2.0]]])
    reference = policy.outputs_at(outside)
    bound = runtime_error(policy, state_limit=2.0)
    assert (np.abs(controller.from_state(outside) - reference) <= bound).all()
    assert (np.abs(controller.from_state(inside) - reference) > bound).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_returned_belongs_to_the_caller(file: ControllerFile, backend: Backend) -> None:
    controller = controller_of(file, backend, OnBadObservation.HOLD)
    bad = np.full((1, OBS_DIM), np.nan)
    first = controller(draw(1, seed=1))
    kept = first.copy()
    for _ in range(3):
        held = controller(bad)
        assert np.array_equal(held, kept)
        first[:], held[:] = 77, 99
    second = controller(draw(1, seed=2))
    again = controller(draw(1, seed=2))
    controller(draw(1, seed=3))
    assert np.array_equal(second, again)


class Headstrong(np.ndarray[tuple[int, ...], np.dtype[np.float32]]):
    """An array that takes no part in any function of NumPy."""

    __array_ufunc__ = None


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_layout_and_real_dtype_is_read_as_float32(
    file: ControllerFile, backend: Backend
) -> None:
    controller = controller_of(file, backend)
    obs = draw(4)
    expected = controller(obs)
    wide = np.zeros((8, 2 * OBS_DIM), np.float32)
    wide[::2, ::2] = obs
    for same in (
        *(obs.astype(np.float64), np.asfortranarray(obs), wide[::2, ::2]),
        *(obs.astype(">f4"), obs.view(Headstrong), np.ma.masked_array(obs, mask=False)),
        np.frombuffer(b"-" + obs.tobytes(), np.uint8)[1:].view(np.float32).reshape(obs.shape),
    ):
        given = controller(same)
        assert type(given) is np.ndarray
        assert np.array_equal(given, expected)
    whole = np.arange(OBS_DIM)[None]
    assert np.array_equal(controller(whole), controller(whole.astype(np.float32)))


BAD = {
    "nan": (np.float32([[0, np.nan, 0, 0, 0]]), r"finite in float32, got nan at \[0, 1\]"),
    "inf": (np.float32([[0, 0, 0, -np.inf, 0]]), r"finite in float32, got -inf at \[0, 3\]"),
    "too large for float32": (np.array([[1e300, 0, 0, 0, 0]]), r"finite in float32, got inf"),
    "one row bad": (np.float32([[0] * 5, [0, 0, 0, 0, np.nan]]), r"got nan at \[1, 4\]"),
    "flat": (np.zeros(OBS_DIM, np.float32), r"have shape \(batch, 5\), got \(5,\)"),
    "too narrow": (np.zeros((1, 4), np.float32), r"have shape \(batch, 5\), got \(1, 4\)"),
    "empty": (np.zeros((0, OBS_DIM), np.float32), r"have shape \(batch, 5\), got \(0, 5\)"),
    "masked": (
        np.ma.masked_invalid(np.float32([[0, np.nan, 0, 0, 0]])),
        "have no masked entry, has 1",
    ),
    "complex": (np.zeros((1, OBS_DIM), complex), r"real numbers, got an array of complex128"),
    "text": (np.full((1, OBS_DIM), "x"), r"real numbers, got an array of <U1"),
    "objects": (np.full((1, OBS_DIM), None), r"real numbers, got an array of object"),
    "list": ([[0.0] * OBS_DIM], r"real numbers, got list"),
    "none": (None, r"real numbers, got NoneType"),
}


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("case", BAD)
def test_a_bad_observation_is_refused_and_nothing_is_remembered(
    file: ControllerFile, backend: Backend, case: str
) -> None:
    obs, message = BAD[case]
    controller = controller_of(file, backend)
    expected = controller(draw(2))
    with pytest.raises(InputError, match=f"obs must.*{message}"):
        controller(obs)
    with pytest.raises(InputError, match=f"state must.*{message}"):
        controller.from_state(obs)
    assert np.array_equal(controller(draw(2)), expected)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("case", BAD)
def test_on_request_the_last_action_is_held_instead(
    file: ControllerFile, backend: Backend, case: str
) -> None:
    obs, message = BAD[case]
    controller = controller_of(file, backend, OnBadObservation.HOLD)
    with pytest.raises(InputError, match=message):  # nothing to hold yet
        controller(obs)
    rows = 2 if case == "one row bad" else 1
    for seed in (1, 2):
        last = controller(draw(rows, seed=seed))
        for _ in range(2):
            assert np.array_equal(controller(obs), last)
    with pytest.raises(InputError, match=message):
        controller.from_state(obs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_engine_has_no_old_answer_to_what_is_no_number(
    file: ControllerFile, backend: Backend
) -> None:
    """Another thread may write into an observation that has been checked."""
    controller = controller_of(file, backend)
    bad = np.full((1, OBS_DIM), np.nan, np.float32)
    for infer in (controller.engine.infer, controller.engine.infer_from_state):
        infer(draw(1))
        assert np.isnan(infer(bad)).all()


def test_a_call_within_a_call_is_an_error_and_waits_for_nothing(file: ControllerFile) -> None:
    """As of a signal's handler, which runs between any two steps of its thread."""
    controller = controller_of(file, Backend.NUMPY)
    expected, infer = controller(draw(1)), controller.engine.infer

    class Interrupted(NumpyEngine):
        def infer(self, obs: Array) -> Array:
            with pytest.raises(InputError, match="not be used from within its own call"):
                controller(obs)
            return infer(obs)

    controller.engine = Interrupted(file)
    assert np.array_equal(controller(draw(1)), expected)
    assert np.array_equal(controller(draw(1)), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_held_has_as_many_rows_as_what_is_bad(
    file: ControllerFile, backend: Backend
) -> None:
    controller = controller_of(file, backend, OnBadObservation.HOLD)
    one, three = controller(draw(1, seed=1)), controller(draw(3, seed=2))
    bad = np.full((4, OBS_DIM), np.nan, np.float32)
    assert np.array_equal(controller(bad[:1]), one)
    assert np.array_equal(controller(bad[:3]), three)
    assert np.array_equal(controller(np.zeros(OBS_DIM)), three)  # which says no size
    with pytest.raises(InputError, match="must be finite"):
        controller(bad[:2])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_threads_that_share_a_controller_get_their_own_answers(
    file: ControllerFile, backend: Backend
) -> None:
    """Two robots, one controller: 4,000 calls each, with bad observations in between."""
    controller = controller_of(file, backend, OnBadObservation.HOLD)
    bad = np.full((1, OBS_DIM), np.nan, np.float32)
    robots = [draw(2000, seed=1), draw(2000, seed=2)]
    alone = [[controller(obs[None]).copy() for obs in each] for each in robots]
    gate = threading.Barrier(len(robots))

    def play(number: int) -> int:
        gate.wait()
        wrong = 0
        for obs, expected in zip(robots[number], alone[number], strict=True):
            wrong += not np.array_equal(controller(obs[None]), expected)
            wrong += not np.array_equal(controller(bad), expected)
        return wrong

    with ThreadPoolExecutor(len(robots)) as pool:
        assert list(pool.map(play, range(len(robots)))) == [0, 0]


def test_a_thread_is_never_given_what_another_one_did(file: ControllerFile) -> None:
    controller = controller_of(file, Backend.NUMPY, OnBadObservation.HOLD)
    controller(draw(1))
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="must be finite"):
        pool.submit(controller, np.full((1, OBS_DIM), np.nan)).result()


def test_an_engine_computes_one_call_at_a_time() -> None:
    """Which holds for engines that are not at hand here, such as TensorRT's."""

    class Shared:
        """Answers from memory that it also computes in."""

        name, obs_dim, num_outputs, size_bytes = "shared", 1, 1, 0
        memory = np.zeros((1, 1), np.float32)

        def infer(self, obs: Array) -> Array:
            self.memory[:] = obs
            time.sleep(1e-5)
            return self.memory.copy()

        infer_from_state = infer

    controller = CheckedController(Shared())

    def echo(number: int) -> list[int]:
        given = np.full((1, 1), number, np.float32)
        return [int(call(given)[0, 0]) for call in (controller, controller.from_state)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(echo, range(400))) == [[n, n] for n in range(400)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_huge_observation_meets_the_clip(file: ControllerFile, backend: Backend) -> None:
    controller = controller_of(file, backend)
    huge = np.full((1, OBS_DIM), np.finfo(np.float32).max, np.float32)
    for sign in (1, -1):
        at_clip = np.full((1, OBS_DIM), sign * 10.0, np.float32)
        assert np.array_equal(controller(sign * huge), controller.from_state(at_clip))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overflow_is_an_error_and_never_an_action(backend: Backend) -> None:
    policy = random_policy(
        np.random.default_rng(2), (OBS_DIM, 8, NUM_OUTPUTS), Activation.RELU, Squash.IDENTITY
    )
    controller = controller_of(file_of(policy), backend, OnBadObservation.HOLD)
    controller(draw(1))
    state = np.full((1, OBS_DIM), np.finfo(np.float32).max, np.float32)
    with pytest.raises(CheckError, match="overflowed float32"):
        controller.from_state(state)


def test_hold_remembers_what_the_engine_gave_not_what_it_was_asked() -> None:
    class Counter:
        name, obs_dim, num_outputs, size_bytes = "counter", 1, 1, 0
        calls = 0

        def infer(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
            self.calls += 1
            return np.full((len(obs), 1), self.calls, np.float32)

        infer_from_state = infer

    engine = Counter()
    controller = CheckedController(engine, OnBadObservation.HOLD)
    good, bad = np.zeros((1, 1)), np.full((1, 1), np.nan)
    assert [controller(x)[0, 0] for x in (good, bad, bad, good, bad)] == [1, 1, 1, 2, 2]
    assert engine.calls == 2
