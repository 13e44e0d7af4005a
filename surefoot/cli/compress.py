"""``pipeline compress``: a finished policy with fewer weights, or weights of fewer bits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import Json, sha256_hex
from surefoot.certificate import proved_text
from surefoot.cli import console
from surefoot.cli.options import AsJson, EnvModule
from surefoot.cli.source import CRITIC_FILE, NUM_EPISODES, Source, read_source
from surefoot.config import build, to_table
from surefoot.errors import InputError
from surefoot.onnx_file import POLICY_FILE, save_policy
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.visited import VISITED_FILE

if TYPE_CHECKING:
    from surefoot.certify import ControlError, ControlLimit, Over
    from surefoot.compress import OneShotConfig

_NUM_STATES = 384


def compress(
    policy: Annotated[Path, typer.Argument(help="A run, a policy folder or an .onnx file.")],
    out: Annotated[Path, typer.Option(help="Policy folder to write.")],
    method: Annotated[
        str | None, typer.Option(help="magnitude, obd, obs (if nothing is said) or sparsegpt.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of all weights that are zero in the result.")
    ] = None,
    allocation: Annotated[
        str | None, typer.Option(help="erk (if nothing is said), uniform or global.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the kept weights to the layer's outputs (OBS does)")
    ] = False,
    weights: Annotated[str, typer.Option(help="float32, float16 or int8.")] = "float32",
    max_control_error: Annotated[
        float | None,
        typer.Option(
            help="Instead of --sparsity: the largest found that is certified to change no action "
            "by more, at the recorded states or over the box."
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(help="Where that is certified: visited states (the default), or the box."),
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="Ball around each visited state, linf, normalised units.")
    ] = 0.0,
    calibration: Annotated[
        Path | None, typer.Option(help="Observations (.npy) instead of the policy's visited ones.")
    ] = None,
    visited_states: Annotated[
        int | None, typer.Option(help="States of the result to record; default as before, 0 none.")
    ] = None,
    env_module: EnvModule = None,
    as_json: AsJson = False,
) -> None:
    """Compress a finished policy: another policy, to be certified and exported by itself."""
    from surefoot.certify import ControlLimit
    from surefoot.compress import OneShotConfig

    how = _given(method=method, allocation=allocation, refit=refit or None)
    where = _given(max_control_error=max_control_error, over=over)
    config = build(OneShotConfig, {"weights": weights, **how}, "compress")
    limit = build(ControlLimit, {"epsilon": epsilon, **where}, "compress")
    _check_target(sparsity, weights, visited_states, how, where)
    result = compress_into(
        out,
        read_source(policy, calibration, env_module),
        config,
        limit,
        sparsity=sparsity,
        visited_states=visited_states,
    )
    console.show(as_json, result, table_of(result))


def _given(**flags: object) -> dict[str, object]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def _check_target(
    sparsity: float | None,
    weights: str,
    visited_states: int | None,
    how: Mapping[str, object],
    where: Mapping[str, object],
) -> None:
    """Check that it is said what to do, once, and nothing that would be of no effect.

    Raises:
        InputError: If it is not.
    """
    has_limit = "max_control_error" in where
    if sparsity is not None and has_limit:
        raise InputError("give --sparsity or --max-control-error, not both")
    if sparsity is None and not has_limit:
        if weights == "float32":
            raise InputError("nothing to do: give --sparsity, --max-control-error or --weights")
        if how:
            raise InputError(
                f"{', '.join(how)}: of no effect where no weight is removed, give --sparsity or"
                " --max-control-error"
            )
    if "over" in where and not has_limit:
        raise InputError("over: of no effect without a limit, give --max-control-error")
    if visited_states is not None and visited_states < 0:
        raise InputError(f"visited-states must be at least 0, got {visited_states}")


def compress_into(
    out: Path,
    source: Source,
    config: "OneShotConfig",
    limit: "ControlLimit",
    *,
    sparsity: float | None,
    visited_states: int | None = None,
) -> dict[str, Json]:
    """Compress, write the policy folder and return what it says about the compression.

    Args:
        out: The policy folder.
        source: What is compressed.
        config: How.
        limit: Largest control error, if there is one, and where it holds.
        sparsity: Share of weights that are zero; None for what ``limit`` allows, or all that are.
        visited_states: States of the result to record; None for as many as the source has.

    Raises:
        InputError: If the sparsity, the limit or the calibration cannot be, or ``out`` is the
            folder of the source.
    """
    from surefoot.compress import Method, calibration_states, num_kept

    if out.resolve() == source.folder.resolve():
        raise InputError(
            "out must be another folder than that of the policy, which the result is compared"
            f" with, got {out}"
        )
    original = source.file.policy
    removes = sparsity is not None or limit.max_control_error is not None
    if not removes:
        config = replace(config, method=Method.MAGNITUDE)  # which looks at no state
    observations = source.seen()
    if observations is None and (config.needs_states or limit.needs_states):
        observations = source.play(original, _NUM_STATES).pool
    states = None
    if observations is not None:
        states = calibration_states(original, observations, fits_weights=config.needs_states)
    maker = _Maker(original=original, states=states, config=config, limit=limit)
    if limit.max_control_error is not None:
        compressed = maker.sparsest()
    elif sparsity is None:
        compressed = maker.make(maker.num_weights)
    else:
        size = sum(layer.weight.size for layer in original.layers)
        compressed = maker.make(num_kept(size, sparsity))
    num_recorded = visited_states
    if num_recorded is None and source.visited is not None:
        num_recorded = len(source.visited.independent)
    elif num_recorded is None:
        num_recorded = _NUM_STATES if source.env_id else 0
    no_choice = {} if removes else {"method": None, "allocation": None}
    table = (
        maker.report(compressed)
        | no_choice
        | {
            "original": {
                "onnx_sha256": sha256_hex(source.file.data),
                "weights_sha256": weights_sha256(original),
                "sparsity": original.sparsity,
            },
            "calibration_states": 0 if states is None else len(states),
            "clean_return": _clean_returns(original, compressed, source) if num_recorded else None,
        }
    )
    extra = {} if source.critic is None else {CRITIC_FILE: source.critic}
    if num_recorded:
        visited = source.play(compressed, num_recorded)
        extra[VISITED_FILE] = visited.to_bytes()
        # It goes elsewhere than the original does, and may differ more from it there.
        own = calibration_states(compressed, visited.pool, fits_weights=False)
        table["control_error"]["own"] = maker.error_at(compressed, own).to_table()
    of_the_file = ("format", "head", "weights_sha256")
    kept = {key: value for key, value in source.file.metadata.items() if key not in of_the_file}
    data = save_policy(
        out,
        compressed,
        metadata=kept,
        facts={"sparsity": compressed.sparsity, "compression": table},
        inputs={POLICY_FILE: sha256_hex(source.file.data)},
        extra_files=extra,
    )
    return {
        "policy": str(out),
        "sparsity": compressed.sparsity,
        "weights_sha256": weights_sha256(compressed),
        "onnx_sha256": sha256_hex(data),
        **table,
    }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Maker:
    """Makes compressed policies and says how far they are from the original.

    Attributes:
        original: What is compressed.
        states: What it visits, normalised units, (n, obs_dim), or None.
        config: How it is compressed.
        limit: The control error that is allowed, and where it is certified.
    """

    original: Policy
    states: Array | None
    config: "OneShotConfig"
    limit: "ControlLimit"

    @property
    def num_weights(self) -> int:
        """Weights of the original that are not zero."""
        from surefoot.compress import num_weights

        return num_weights(self.original)

    def make(self, num_kept: int) -> Policy:
        """Return the policy that keeps so many weights, as its file will hold it."""
        from surefoot.compress import compress_policy

        return compress_policy(self.original, self.states, num_kept, self.config)

    def error(self, policy: Policy, over: "Over") -> "ControlError":
        """Return the control error over the visited states or the box.

        Raises:
            InputError: If it cannot be certified there.
        """
        from surefoot.certify import Over, box_control_error

        if over is Over.BOX:
            return box_control_error(policy, self.original)
        if self.states is None:
            raise InputError("over must be box where no visited states are known, got visited")
        return self.error_at(policy, self.states)

    def error_at(self, policy: Policy, states: Array) -> "ControlError":
        """Return the control error at states, (n, obs_dim), normalised units."""
        from surefoot.certify import visited_control_error

        return visited_control_error(policy, self.original, states, self.limit.epsilon)

    def sparsest(self) -> Policy:
        """Return the policy of fewest weights that holds the limit.

        Raises:
            InputError: If none does that keeps all weights.
        """
        from surefoot.certify import fewest_kept

        limit = self.limit.max_control_error
        assert limit is not None
        made: dict[int, Policy] = {}
        found: dict[int, float] = {}
        total = (self.num_weights - 1).bit_length() + 1

        def holds(num_kept: int) -> bool:
            made[num_kept] = self.make(num_kept)
            found[num_kept] = self.error(made[num_kept], self.limit.over).certified
            update(len(found), f"{num_kept} weights: {found[num_kept]:.4g}")
            return found[num_kept] <= limit

        with console.progress_bar("compress", total) as update:
            kept = fewest_kept(holds, len(self.original.layers), self.num_weights)
        if kept is None:
            raise InputError(
                f"max_control_error must be at least {proved_text(found[self.num_weights])}"
                f", the certified error when no weight is removed ({self.config.weights} weights, "
                f"rounding of both controllers), got {limit:g}"
            )
        return made[kept]

    def report(self, policy: Policy) -> dict[str, Json]:
        """Return what is known about a compressed policy."""
        from surefoot.certify import Over, changed_choices, paper_control_error, units_of
        from surefoot.compress import num_weights

        visited: Json = None
        paper: Json = None
        changed: Json = None
        if self.states is not None:
            changed = changed_choices(policy, self.original, self.states)
            visited = self.error(policy, Over.VISITED).to_table()
            paper = paper_control_error(policy, self.original, self.states)
        box: Json
        try:
            box = self.error(policy, Over.BOX).to_table()
        except InputError as error:  # without a clip nothing bounds the states
            box = {"certified": None, "reason": str(error)}
        return {
            **to_table(self.config),
            "kept_weights": num_weights(policy),
            "max_control_error": self.limit.max_control_error,
            "over": self.limit.over.value,
            "control_error": {
                "units": units_of(policy),
                "arithmetic": "float32, rounding of both controllers included",
                "visited": visited,
                "own": None,
                "box": box,
                "paper": paper,
            },
            "changed_choices": changed,
        }


def _clean_returns(original: Policy, compressed: Policy, source: Source) -> dict[str, Json]:
    means = {
        "original": source.clean_return(original),
        "compressed": source.clean_return(compressed),
    }
    return {**means, "episodes": NUM_EPISODES}


def table_of(result: dict[str, Json]) -> console.Table:
    """Return what was done, and the control error by domain."""
    error, chosen_by = result["control_error"], "no weight removed"
    if result["method"] is not None:
        chosen_by = f"{result['method']}, {result['allocation']}"
    rows: list[tuple[object, ...]] = [
        ("method", f"{chosen_by}, {result['weights']} weights"),
        ("sparsity", f"{result['sparsity']:.2%} ({result['kept_weights']} weights kept)"),
    ]
    domains = {
        "visited": "states of the original",
        "own": "states of its own",
        "box": "box states",
    }
    for name, words in domains.items():
        if (entry := error[name]) is None:
            continue
        where = f"{entry.get('states', 'no')} {words}"
        where += f" + {entry['epsilon']:g}" if entry.get("epsilon") else ""
        values = (console.proved(entry["certified"]), console.cell(entry.get("measured")))
        rows.append((f"control error, {where}", f"certified {values[0]}, measured {values[1]}"))
    if (changed := result["changed_choices"]) is not None:
        rows.append(("choices changed, states of the original", f"{changed:.2%}"))
    if (paper := error["paper"]) is not None:
        rows.append(("as published (not a bound)", console.cell(paper["value"])))
    if (returns := result["clean_return"]) is not None:
        words = f"{returns['compressed']:.0f}, of the original {returns['original']:.0f}"
        rows.append((f"clean return, {returns['episodes']} episodes", words))
    title = f"compressed {result['policy']} (control error: {error['units']})"
    return console.table(title, ("what", "value"), rows)
