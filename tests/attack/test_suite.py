"""The suite: what is chosen, reported and held against the certificate.

Also of ``attack/attack_config.py``, ``attack/suite_inputs.py`` and ``attack/suite_report.py``.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from support.attacks import shorten
from support.certificates import certificate_of
from support.policies import build_policy, file_of, random_policy, unit_range
from surefoot.artifact import sha256_hex, to_json
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.closed_loop import Evaluation
from surefoot.attack.seeds import evaluation_seeds, selection_seeds
from surefoot.attack.suite import run_suite, strongest
from surefoot.attack.suite_inputs import boxes_of
from surefoot.attack.suite_report import AttackReport, AttackResult
from surefoot.ball import Ball, Norm
from surefoot.budget import Scope
from surefoot.config import build
from surefoot.errors import CheckError, InputError, IntegrityError, VerificationError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation
from surefoot.raw_units import ball_of
from surefoot.records import AttackRecord
from surefoot.robot import Robot
from surefoot.runtime.load import Backend

SMALL = AttackConfig(epsilon=0.05, episodes=4, selection_episodes=2, num_threads=1)


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    policy = random_policy(np.random.default_rng(1), (11, 32, 32, 3), Activation.TANH)
    return file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})


@pytest.fixture(scope="module")
def report(file: ControllerFile) -> AttackReport:
    return run_suite(file, None, SMALL)


def test_attack_json_has_the_keys_that_were_promised(
    report: AttackReport, file: ControllerFile
) -> None:
    table = report.to_table()
    assert {"epsilon", "norm", "backend", "episodes", "attacks", "worst"} <= set(table)
    assert (table["epsilon"], table["norm"], table["backend"]) == (0.05, "linf", "numpy")
    assert table["onnx_sha256"] == sha256_hex(file.data)
    assert table["env"] == "Hopper-v5"
    assert list(table["attacks"]) == ["clean", "random", "mad", "push"]
    for entry in table["attacks"].values():
        assert {"returns", "mean", "iqm", "interval", "max_deviation"} <= set(entry)
        assert entry["certified_deviation"] is None
        assert len(entry["returns"]) == len(entry["lengths"]) == table["episodes"] == 4
        assert entry["mean"] == np.mean(entry["returns"])
        assert entry["interval"][0] <= entry["iqm"] <= entry["interval"][1]
        assert entry["failures"] == 0
    to_json(table)


def test_without_failures_the_worst_attack_is_the_one_of_the_lowest_mean(
    report: AttackReport,
) -> None:
    table = report.to_table()
    means = {name: table["attacks"][name]["mean"] for name in ("random", "mad", "push")}
    worst = min(means, key=means.get)
    assert report.worst == worst
    assert table["worst"] == {"attack": worst, "mean": means[worst], "failures": 0}


def test_variants_are_chosen_on_other_episodes_than_are_reported(report: AttackReport) -> None:
    table = report.to_table()
    for result in report.attacks.values():
        assert result.evaluation.seeds == evaluation_seeds(4)
        assert {tried.seeds for tried in result.selection.values()} <= {selection_seeds(2)}
    assert not set(table["seeds"]["selection"]) & set(table["seeds"]["evaluation"])
    for entry in table["attacks"].values():
        if entry["selection"]:
            means = {name: tried["mean"] for name, tried in entry["selection"].items()}
            assert entry["variant"] == min(means, key=means.get)
    # A controller that clips its actions is searched before and after the clip.
    assert {"published", "slack", "applied"} < set(table["attacks"]["mad"]["selection"])


def test_the_same_suite_gives_the_same_report_at_any_number_of_threads(
    report: AttackReport, file: ControllerFile
) -> None:
    again = run_suite(file, None, replace(SMALL, num_threads=2)).to_table()
    table = report.to_table()
    assert again.pop("settings") == table.pop("settings") | {"num_threads": 2}
    assert again == table


def test_the_report_holds_the_settings_that_would_repeat_it(report: AttackReport) -> None:
    table = report.to_table()["settings"]
    given = {name: value for name, value in table.items() if value is not None}
    assert build(AttackConfig, given, "attack") == SMALL


def test_progress_goes_from_nothing_to_everything_and_names_what_runs(file: ControllerFile) -> None:
    told = []
    run_suite(file, None, SMALL, on_progress=lambda done, remark: told.append((done, remark)))
    assert told == sorted(told, key=lambda entry: entry[0])
    assert (told[0][0], told[-1][0]) == (0, SMALL.num_steps)
    assert {"clean, clean", "mad, published", "push, actuator 2 down"} <= {name for _, name in told}


def test_backends_that_round_differently_tell_much_the_same(
    report: AttackReport, file: ControllerFile
) -> None:
    onnx = run_suite(file, None, replace(SMALL, backend=Backend.ONNX))
    assert onnx.to_table()["backend"] == "onnx"
    for name, result in onnx.attacks.items():
        lengths = report.attacks[name].evaluation.lengths
        assert np.abs(result.evaluation.lengths - lengths).max() <= 3


def test_every_deviation_is_held_against_the_certificate(
    report: AttackReport, file: ControllerFile
) -> None:
    reached = report.attacks["mad"].evaluation.max_deviation
    assert 0 < reached < 0.25  # what the finding of the fixture certifies
    sound = run_suite(file, certificate_of(file), SMALL)
    assert sound.to_table()["attacks"]["mad"]["certified_deviation"] == 0.25
    assert sound.to_table()["attacks"]["clean"]["certified_deviation"] is None
    wrong = certificate_of(file, deviation_linf={"epsilon": 0.05, "best": 0.5 * reached})
    with pytest.raises(CheckError, match=r"more than the certified .*: the certificate is wrong"):
        run_suite(file, wrong, SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"suite": "ful"},
            "suite must be one of quick, paper, full, got 'ful'; did you mean 'full'",
        ),
        ({"norm": "l7"}, "norm must be one of l2, linf, got 'l7'"),
        ({"backend": "onyx"}, "backend must be one of .* did you mean 'onnx'"),
    ],
)
def test_choices_made_in_python_are_checked(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AttackConfig(**settings)
    assert AttackConfig(norm="l2").norm is Norm.L2


def test_the_certificate_names_the_perturbation_if_nobody_does(file: ControllerFile) -> None:
    table = {"epsilon": 0.01, "best": 0.25}
    certificate = certificate_of(file, deviation_linf=table)
    tiny = replace(SMALL, epsilon=None, episodes=1, selection_episodes=1)
    assert run_suite(file, certificate, tiny).ball.epsilon == 0.01
    with pytest.raises(InputError, match=r"attack.epsilon must be given"):
        run_suite(file, None, tiny)
    # The radius of another norm is none of this one.
    with pytest.raises(InputError, match=r"attack.epsilon must be given for norm l2"):
        run_suite(file, certificate, replace(tiny, norm=Norm.L2))


def test_a_certificate_about_another_file_is_refused(file: ControllerFile) -> None:
    other = file_of(file.policy, {"env": {"id": "Hopper-v5"}, "note": "another"})
    with pytest.raises(IntegrityError, match="the certificate is about onnx_sha256"):
        run_suite(file, certificate_of(other), SMALL)


@pytest.mark.parametrize("arithmetic", ["tf32", "float16"])
def test_a_certificate_about_another_arithmetic_is_refused(
    file: ControllerFile, arithmetic: str
) -> None:
    with pytest.raises(VerificationError, match=f"about arithmetic '{arithmetic}'"):
        run_suite(file, certificate_of(file, arithmetic=arithmetic), SMALL)


def test_the_file_names_the_environment_and_the_user_may_name_another(file: ControllerFile) -> None:
    nameless = ControllerFile(policy=file.policy, data=file.data)
    with pytest.raises(InputError, match=r"attack.env_id must be given"):
        run_suite(nameless, None, SMALL)
    with pytest.raises(InputError, match="did you mean 'Hopper-v5'"):
        run_suite(file, None, replace(SMALL, env_id="Hoper-v5"))
    with pytest.raises(InputError, match="17 observations"):
        run_suite(file, None, replace(SMALL, env_id="Walker2d-v5"))


def test_a_module_that_the_file_names_is_not_imported(file: ControllerFile, tmp_path: Path) -> None:
    module = tmp_path / "never_imported.py"
    module.write_text("raise SystemExit('imported')")
    named = file_of(file.policy, {"env": {"id": "Hopper-v5", "module": str(module)}})
    run_suite(named, None, replace(SMALL, episodes=1, selection_episodes=1))


MODULE = """
import gymnasium
import numpy as np


class Steady(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (11,))
    action_space = gymnasium.spaces.Box(-1, 1, (3,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(11, np.float32), {}

    def step(self, action):
        return np.zeros(11, np.float32), REWARD, False, False, {}


gymnasium.register("Steady-v0", Steady, max_episode_steps=5)
"""


def test_what_is_stored_of_a_task_is_of_the_module_as_it_was(
    file: ControllerFile, tmp_path: Path
) -> None:
    module, work = tmp_path / "steady_task.py", tmp_path / "work"
    config = replace(SMALL, episodes=2, env_id="Steady-v0", env_module=str(module))

    def clean(reward: str) -> float:
        module.write_text(MODULE.replace("REWARD", reward))
        sys.modules.pop("steady_task", None)
        gymnasium.registry.pop("Steady-v0", None)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        return run_suite(file, None, config, work=work).attacks["clean"].mean

    assert clean("1.0") == 5
    pieces = set(work.iterdir())
    assert clean("2.0") == 10
    assert len(set(work.iterdir()) - pieces) == len(pieces) - 1  # all but the mark of the folder
    assert clean("1.0") == 5
    assert len(set(work.iterdir()) - pieces) == len(pieces) - 1


def test_a_suite_runs_in_the_l2_ball_too(file: ControllerFile) -> None:
    report = run_suite(file, None, replace(SMALL, norm=Norm.L2, episodes=2))
    assert report.to_table()["norm"] == "l2"
    assert report.attacks["mad"].evaluation.max_deviation > 0


def evaluation_of(
    returns: list[float], failures: tuple[str | None, ...] = (None, None)
) -> Evaluation:
    return Evaluation(
        seeds=(1, 2),
        returns=np.array(returns),
        lengths=np.array([3, 4]),
        terminated=np.array([False, True]),
        failures=failures,
        deviations=np.array([[0.1, 0.3], [0.2, 0.0]]),
    )


def test_the_strongest_variant_fails_the_controller_or_else_costs_the_most() -> None:
    mild, harsh = evaluation_of([9.0, 9.0]), evaluation_of([1.0, 2.0])
    fatal = evaluation_of([9.5, 9.5], ("not finite", None))
    assert strongest({"mild": mild, "harsh": harsh}) == "harsh"
    assert strongest({"mild": mild, "fatal": fatal, "harsh": harsh}) == "fatal"


def test_the_worst_attack_of_a_report_is_the_one_that_fails_the_controller(
    report: AttackReport,
) -> None:
    results = {
        name: AttackResult(variant=name, selection={}, evaluation=evaluation, certified=None)
        for name, evaluation in {
            "clean": evaluation_of([9.0, 9.0]),
            "harsh": evaluation_of([1.0, 2.0]),
            # Its episode ends early, and of rewards that are costs its return looks good.
            "fatal": evaluation_of([9.5, 9.5], ("not finite", None)),
        }.items()
    }
    seeds = {"evaluation": (0, 1), "selection": ()}
    worst = replace(report, attacks=results, seeds=seeds).record().worst
    assert (worst.attack, worst.mean, worst.failures) == ("fatal", 9.5, 1)


def test_the_clean_loop_is_no_attack_even_when_it_returns_least(report: AttackReport) -> None:
    low = AttackResult(
        variant="clean", selection={}, evaluation=evaluation_of([-9.0, -9.0]), certified=None
    )
    assert replace(report, attacks={**report.attacks, "clean": low}).worst != "clean"


def test_failures_are_counted_in_the_report_and_no_episode_is_dropped() -> None:
    evaluation = evaluation_of([5.0, 7.0], ("not finite", None))
    outcome = AttackResult(
        variant="x", selection={}, evaluation=evaluation, certified=None
    ).record()
    assert (outcome.failures, outcome.failure_reasons) == (1, ("not finite", None))
    assert (outcome.mean, outcome.returns) == (6.0, (5.0, 7.0))
    assert (outcome.max_deviation, outcome.max_deviation_per_output) == (0.3, (0.2, 0.3))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"epsilon": -0.1}, "epsilon must be at least 0"),
        ({"norm": "l7"}, "must be one of l2, linf"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"suite": "quik"}, "did you mean 'quick'"),
        ({"backend": "onxx"}, "did you mean 'onnx'"),
        ({"epsilonn": 0.1}, "unknown key 'attack.epsilonn'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(table: dict[str, float | str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build(AttackConfig, table, "attack")


def test_the_suite_of_the_paper_is_its_table_of_attacks() -> None:
    config = AttackConfig(suite="paper")
    assert list(config.played) == ["clean", "random", "critic", "mad", "rs"]
    assert config.suite_name == "paper"


def test_attacks_that_are_named_are_played_beside_the_clean_loop(
    file: ControllerFile, report: AttackReport
) -> None:
    chosen = run_suite(file, None, replace(SMALL, attacks=("push", "random"))).record()
    assert chosen.suite == "chosen"
    assert set(chosen.attacks) == {"clean", "random", "push"}
    for name in ("random", "push"):
        assert chosen.attacks[name].returns == report.record().attacks[name].returns


@pytest.mark.parametrize("names", [("made",), ("clean",), ("mad", "mad")])
def test_attacks_are_named_once_and_known(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"attacks must (be among|name each)"):
        AttackConfig(attacks=names)


def test_actions_are_attacked_where_a_certificate_bounds_them_and_beside_the_suite(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, lesson_steps=16, epochs=1, num_envs=4, rollout_steps=64)
    config = replace(SMALL, attacks=("random", "action"), adversary_steps=256)
    record = run_suite(file, certificate_of(file), config).record()
    assert set(record.attacks) == {"clean", "random"}
    assert record.worst.attack == "random"
    (everywhere,) = record.actions or ()
    assert everywhere.scope is Scope.EVERYWHERE
    assert everywhere.limits == (0.25, 0.25, 0.25)  # of the only finding
    assert set(everywhere.outcome.selection) > {"steady", "bang-bang", "learned"}
    assert 0 < everywhere.outcome.max_deviation <= 0.25
    assert AttackRecord.from_json(record.to_json(), "attack.json") == record
    alone = run_suite(file, certificate_of(file), replace(config, attacks=("action",))).record()
    assert (alone.actions, alone.worst.attack) == (record.actions, "clean")


@pytest.mark.parametrize(
    ("certified", "epsilon", "reason"),
    [
        (False, 0.05, "no certificate bounds the actions"),
        (True, 5.0, "the certificate bounds no change of the actions"),  # a hundred times its own
    ],
)
def test_a_box_without_a_proof_behind_it_is_refused_by_name_and_left_out_of_a_suite(
    file: ControllerFile, *, certified: bool, epsilon: float, reason: str
) -> None:
    certificate = certificate_of(file) if certified else None
    config = replace(SMALL, attacks=("action",), epsilon=epsilon)
    with pytest.raises(InputError, match=f"^attacks must not name 'action' here: {reason}"):
        run_suite(file, certificate, config)
    full = replace(config, attacks=(), suite="full")
    assert boxes_of(file, certificate, Ball(norm=Norm.LINF, epsilon=epsilon), full) == ()


def test_a_box_of_discrete_actions_is_refused() -> None:
    discrete = file_of(build_policy([np.ones((3, 11))], categorical=True))
    config = replace(SMALL, attacks=("action",), env_id="Hopper-v5")
    with pytest.raises(InputError, match=r"^attacks must not name 'action' here: .*discrete"):
        run_suite(discrete, certificate_of(discrete), config)


def test_the_quick_suite_and_that_of_the_paper_leave_the_actions_alone() -> None:
    played = [replace(SMALL, suite=suite).plays_actions for suite in ("quick", "paper", "full")]
    assert played == [False, False, True]


def test_a_sampled_suite_says_so_and_leaves_out_what_has_no_box(file: ControllerFile) -> None:
    config = replace(SMALL, attacks=("random",), actions="sampled")
    record = run_suite(file, None, config).record()
    assert record.samples_actions
    assert run_suite(file, None, replace(config, actions="deterministic")).record().worst != (
        record.worst
    )
    with pytest.raises(InputError, match="sampled actions have no box"):
        run_suite(file, None, replace(config, attacks=("action",)))


def test_actions_are_not_sampled_from_a_law_that_is_not_known(file: ControllerFile) -> None:
    head = replace(file.policy.head, std=None)
    silent = replace(file, policy=replace(file.policy, head=head))
    with pytest.raises(InputError, match=r"actions must be deterministic.*names no noise"):
        run_suite(silent, None, replace(SMALL, actions="sampled"))


def test_sensors_are_attacked_in_their_own_units_and_the_record_says_so(
    file: ControllerFile, tmp_path: Path
) -> None:
    robot = Robot.parse("""
    [[sensor]]
    name = "joints"
    count = 5
    unit = "rad"

    [[sensor]]
    name = "speeds"
    count = 6
    unit = "rad/s"

    [[actuator]]
    name = "torque"
    count = 3
    unit = "1"
    """)
    config = replace(SMALL, epsilon=None, perturb={"joints": 0.01}, episodes=1)
    record = run_suite(file, None, config, robot=robot).record()
    (tmp_path / "attack.json").write_bytes(record.to_json())
    assert AttackRecord.read(tmp_path / "attack.json") == record
    assert record.ball == ball_of({"joints": 0.01}, robot, file.policy.normaliser)
    assert record.perturbation == "joints 0.01 rad"
    assert record.attacks["mad"].max_deviation > 0
