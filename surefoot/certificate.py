"""What a certificate claims about one weights digest, and what a verdict is.

A claim names its norm, units, domain and arithmetic. ``certified`` is a proved bound, ``sampled``
the worst that a search found: the truth lies between. Bounds on deviations and distances include
the rounding of the runtime; those on ``lipschitz`` are in real arithmetic, as their reason says.
"Could not prove" is a value, ``UNKNOWN``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from enum import StrEnum

from surefoot.artifact import Json, from_untrusted_json, to_json
from surefoot.budget import Budget, Requirement
from surefoot.claims import Claims
from surefoot.errors import InputError, IntegrityError
from surefoot.gate import GateFile
from surefoot.quantities.base.witness import Witness
from surefoot.robot import Robot
from surefoot.robot_words import values_in_words
from surefoot.version import __version__

SCHEMA = "surefoot/certificate/1"
BOUNDS = (
    "paper_surrogate",
    "absolute_product",
    "spectral",
    "combettes_pesquet",
    "eclipse_fast",
    "lipsdp",
)
"""The global bounds by name, each sound; null in a certificate where not computed.

``paper_surrogate`` is the published constant made sound: in the unit of the actions, an actuator's
own row as the last layer, and the factor sqrt(obs_dim) for a perturbation in linf. The numbers as
printed stand in ``claims.paper``.
"""


def proved_text(value: float, *, at_most: bool = True, digits: int = 4) -> str:
    """Return a proved bound in a few digits, rounded to the side on which it still holds.

    Args:
        value: The bound.
        at_most: Whether it is an upper bound, or a lower one.
        digits: How many that are significant.
    """
    rounding = ROUND_CEILING if at_most else ROUND_FLOOR
    rounded = float(Context(prec=digits, rounding=rounding).create_decimal(repr(float(value))))
    # Thousands in full, as cells of tables have them.
    return f"{rounded:.0f}" if 1e4 <= abs(rounded) < 1e9 else f"{rounded:.{digits}g}"


class Verdict(StrEnum):
    """What is known about a requirement."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNKNOWN = "UNKNOWN"

    def word(self, *, measured: bool) -> str:
        """Return the verdict as tables print it: a measurement that holds is MET, not PROVED."""
        return "MET" if measured and self is Verdict.PROVED else self.value

    @property
    def exit_code(self) -> int:
        """Exit code of the command line."""
        return {"PROVED": 0, "REFUTED": 3, "UNKNOWN": 4}[self.value]

    @staticmethod
    def worst(verdicts: Iterable["Verdict"]) -> "Verdict":
        """Return REFUTED before UNKNOWN before PROVED; UNKNOWN if there are none."""
        found = set(verdicts)
        for verdict in (Verdict.REFUTED, Verdict.UNKNOWN, Verdict.PROVED):
            if verdict in found:
                return verdict
        return Verdict.UNKNOWN


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is known about one requirement.

    Attributes:
        requirement: The line of the budget.
        certified: Proved bound of the quantity, rounding included but for ``lipschitz``, which is
            in real arithmetic; None where there is none.
        sampled: Worst value that was found by search or measurement, of a success rate its lower
            confidence limit; None where not searched.
        method: Method by which it was proved or measured.
        verdict: PROVED only with a proof (or, for measured quantities, a measurement that holds).
        reason: Why, in one line.
        witness: For REFUTED, what reproduces the violation (observation, perturbation, values).
        statistical: Whether the claim, proved or measured, holds with a confidence.
        measured: Whether the quantity is measured and not proved.
    """

    requirement: Requirement
    certified: float | None
    sampled: float | None
    method: str
    verdict: Verdict
    reason: str
    witness: Witness | None = None
    statistical: bool = False
    measured: bool = False

    def __post_init__(self) -> None:
        """Check that the verdict agrees with the numbers.

        Raises:
            InputError: If PROVED stands without a bound that holds or against a value that was
                found, REFUTED without a witness, ``measured`` for what can be proved, or
                ``statistical`` for what names no confidence.
        """
        quantity, proved = self.requirement.quantity, self.verdict is Verdict.PROVED
        if proved and self.requirement.names_robot and self.requirement.on_robot is None:
            raise InputError(f"verdict PROVED needs a robot that {quantity} is held against")
        if self.measured is self.requirement.about.proved:
            raise InputError(
                f"measured must be {not self.measured} for {quantity}, got {self.measured}"
            )
        if self.statistical and self.requirement.confidence is None:
            raise InputError(f"statistical must be False without a confidence, in {quantity}")
        value = self.sampled if self.measured else self.certified
        if proved and (value is None or not self.requirement.holds(value)):
            raise InputError(f"verdict PROVED needs a value within the limit, got {value}")
        # A statistical claim leaves out a share of the states, in which a search may find more.
        found = None if self.statistical else self.sampled
        if proved and found is not None and not self.requirement.holds(found):
            raise InputError(f"verdict PROVED contradicts the value that was found, {found}")
        if self.verdict is Verdict.REFUTED and self.witness is None:
            raise InputError("verdict REFUTED needs a witness")

    @property
    def outcome(self) -> str:
        """The verdict in a word: MET, not PROVED, of what holds in a measurement."""
        return self.verdict.word(measured=self.measured)

    def example(self, robot: Robot | None) -> str:
        """Return the input that breaks a condition and the actions there; empty without one.

        Args:
            robot: Robot by whose names and units they are called; None for numbers.
        """
        seen = self.witness
        if seen is None or seen.observation is None or seen.action is None:
            return ""
        if not self.requirement.asks:
            return ""
        readings = values_in_words(seen.observation, robot, "sensor")
        return f"at {readings}: {values_in_words(seen.action, robot, 'action')}"

    def reason_on(self, robot: Robot | None) -> str:
        """Return the reason, and the input that breaks a condition where there is one.

        Args:
            robot: Robot by whose names and units it is called; None for numbers.
        """
        return "; ".join(filter(None, [self.reason, self.example(robot)]))

    def to_table(self) -> dict[str, Json]:
        """Return the finding as JSON values."""
        return {
            "requirement": self.requirement.to_table(),
            "certified": self.certified,
            "sampled": self.sampled,
            "method": self.method,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "witness": None if self.witness is None else self.witness.to_table(),
            "statistical": self.statistical,
            "measured": self.measured,
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Json]) -> "Finding":
        """Read a finding back.

        Raises:
            InputError: If a value is of the wrong type or contradicts another.
        """
        kinds = {"method": str, "reason": str, "statistical": bool, "measured": bool}
        for name, kind in kinds.items():
            if not isinstance(table[name], kind):
                raise InputError(f"{name} must be of type {kind.__name__}, got {table[name]!r}")
        _require_numbers("certified and sampled", (table["certified"], table["sampled"]))
        witness = table["witness"]
        read = {
            "requirement": Requirement.from_table(table["requirement"]),
            "verdict": Verdict(table["verdict"]),
            "witness": None if witness is None else Witness.from_table(witness),
        }
        return cls(**(dict(table) | read))


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """Bounds, proofs and verdicts about one controller file.

    Attributes:
        weights_sha256: Digest of what the controller computes (see ``policy.weights_sha256``).
        onnx_sha256: Digest of the very file.
        budget: The requirements; the certificate carries the file, so that export needs no other.
        arithmetic: The arithmetic in which the controller runs and the rounding term covers.
        runtime_error: Bound on |runtime - real arithmetic| per actuator, action units.
        lipschitz_l2: Bound by name on |a(z+d) - a(z)|_2 / |d|_2, with ``best`` and ``sampled``.
        deviation_linf: Bound by name on the largest change of one actuator, action units, for
            |d|_inf at most its key ``epsilon``, with ``best`` and ``sampled``.
        findings: One per requirement, in the order of the budget.
        claims: Tables, distances and values beside the findings.
        proof: Data with which an independent checker proves the bounds again.
        robot: Robot in whose words the budget speaks; None where none is described.
        gate: The gate that the budget asks for, to which the controller is held at run time; None
            without one.
        code_version: Version of surefoot that made it.
    """

    weights_sha256: str
    onnx_sha256: str
    budget: Budget
    arithmetic: str
    runtime_error: tuple[float, ...]
    lipschitz_l2: Mapping[str, float | None]
    deviation_linf: Mapping[str, float | None]
    findings: tuple[Finding, ...]
    claims: Claims
    proof: Mapping[str, Json] = field(default_factory=dict)
    robot: Robot | None = None
    gate: GateFile | None = None
    code_version: str = __version__

    def __post_init__(self) -> None:
        """Check that every requirement of the budget is answered, in order.

        Raises:
            InputError: If the findings are about other requirements, or the gate is not the one
                that the budget asks for.
        """
        if (None if self.gate is None else self.gate.rule) != self.budget.gate:
            raise InputError("the gate must be the one that [gate] of the budget asks for")
        for requirement in self.budget.requirements:
            if requirement.vnnlib is not None and requirement.specification is None:
                raise InputError(f"a certificate must hold the content of {requirement.vnnlib}")
        if tuple(finding.requirement for finding in self.findings) != self.budget.requirements:
            raise InputError("findings must answer the requirements of the budget, one each")

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all requirements."""
        return Verdict.worst(finding.verdict for finding in self.findings)

    @property
    def headline(self) -> str:
        """The verdict, and how many requirements are proved, met and so on."""
        outcomes = [finding.outcome for finding in self.findings]
        counts = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes)]
        return f"{self.verdict} ({', '.join(counts)})"

    @property
    def sensor_warnings(self) -> tuple[str, ...]:
        """One line for each sensor on which the perturbation of the tables says little."""
        if self.claims.sensors is None:
            return ()
        labels = () if self.robot is None else self.robot.sensor_labels
        return self.claims.sensors.warnings(labels)

    def to_table(self) -> dict[str, Json]:
        """Return the certificate as JSON values."""
        return {
            "schema": SCHEMA,
            "code_version": self.code_version,
            "weights_sha256": self.weights_sha256,
            "onnx_sha256": self.onnx_sha256,
            "budget_sha256": self.budget.sha256,
            "budget_toml": self.budget.text,
            "arithmetic": self.arithmetic,
            "runtime_error": list(self.runtime_error),
            "lipschitz_l2": dict(self.lipschitz_l2),
            "deviation_linf": dict(self.deviation_linf),
            "requirements": [finding.to_table() for finding in self.findings],
            "verdict": self.verdict.value,
            "claims": self.claims.to_table(),
            "proof": dict(self.proof),
            **({} if self.robot is None else {"robot_toml": self.robot.text}),
            **({} if self.gate is None else {"gate": self.gate.to_table()}),
        }

    def to_json(self) -> bytes:
        """Return ``certificate.json``."""
        return to_json(self.to_table())

    @classmethod
    def parse(cls, data: bytes, what: str = "certificate.json") -> "Certificate":
        """Read a certificate back.

        Raises:
            IntegrityError: If it is no certificate, contradicts itself, has another schema, or is
                not byte for byte what :meth:`to_json` writes.
        """
        table = from_untrusted_json(data, what)
        if not isinstance(table, dict) or table.get("schema") != SCHEMA:
            raise IntegrityError(f"{what} is not a {SCHEMA} document")
        try:
            for name in ("lipschitz_l2", "deviation_linf"):
                _require_numbers(name, table[name].values())
            _require_numbers("runtime_error", table["runtime_error"])
            findings = tuple(Finding.from_table(entry) for entry in table["requirements"])
            robot = table.get("robot_toml")
            certificate = cls(
                weights_sha256=table["weights_sha256"],
                onnx_sha256=table["onnx_sha256"],
                budget=Budget.parse(table["budget_toml"]).answered(
                    finding.requirement for finding in findings
                ),
                arithmetic=table["arithmetic"],
                runtime_error=tuple(table["runtime_error"]),
                lipschitz_l2=table["lipschitz_l2"],
                deviation_linf=table["deviation_linf"],
                findings=findings,
                claims=Claims.from_table(table["claims"]),
                proof=table["proof"],
                robot=None if robot is None else Robot.parse(robot),
                gate=GateFile.from_table(table["gate"], "gate") if "gate" in table else None,
                code_version=table["code_version"],
            )
            written = certificate.to_json()
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{what} is malformed: {error}") from error
        if certificate.verdict.value != table.get("verdict"):
            raise IntegrityError(f"{what}: its verdict is not that of its requirements")
        if certificate.budget.sha256 != table.get("budget_sha256"):
            raise IntegrityError(f"{what}: its budget is not the one that it names")
        if written != data:
            raise IntegrityError(f"{what} was changed after it was written")
        return certificate

    def check_is_about(self, *, weights_sha256: str, onnx_sha256: str, budget: Budget) -> None:
        """Check that the certificate is about this file and this budget.

        Raises:
            IntegrityError: If it names another file, another budget or other requirements.
        """
        for name, here in (
            ("weights_sha256", weights_sha256),
            ("onnx_sha256", onnx_sha256),
        ):
            if getattr(self, name) != here:
                raise IntegrityError(
                    f"the certificate is about {name} {getattr(self, name)}, this has {here}"
                )
        if self.budget.text != budget.text:
            raise IntegrityError("the certificate is about another budget")


def _require_numbers(name: str, values: Iterable[Json]) -> None:
    for value in values:
        if value is not None and type(value) not in (int, float):
            raise InputError(f"{name} must be numbers or null, got {value!r}")
