"""A compressed policy as JSON and as a table: what was done, and the control error by domain."""

from typing import TYPE_CHECKING

from surefoot.artifact import Json
from surefoot.cli.tables import Table, cell, proved
from surefoot.unknown import Unknown

if TYPE_CHECKING:
    from surefoot.certify import ControlError
    from surefoot.workflow.compressing import CompressedPolicy
    from surefoot.workflow.compression_record import Compression


def json_of(result: "CompressedPolicy") -> dict[str, Json]:
    """Return the JSON object that ``--json`` prints."""
    from surefoot.policy import weights_sha256

    return {
        "policy": str(result.folder),
        "sparsity": result.policy.sparsity,
        "weights_sha256": weights_sha256(result.policy),
        "onnx_sha256": result.onnx_sha256,
        **result.compression.to_table(),
    }


def table_of(result: "CompressedPolicy") -> Table:
    """Return the table that is printed for people."""
    compression = result.compression
    kept = f"{result.policy.sparsity:.2%} ({compression.kept_weights} weights kept)"
    rows: list[tuple[str, str]] = [
        ("method", f"{_chosen_by(compression)}, {compression.weights} weights"),
        ("sparsity", kept),
        *_error_rows(compression),
    ]
    if compression.changed_choices is not None:
        share = f"{compression.changed_choices:.2%}"
        rows.append(("choices changed, states of the original", share))
    if compression.errors.paper is not None:
        rows.append(("as published (not a bound)", cell(compression.errors.paper.value)))
        if (changes := compression.errors.paper.admissible_changes) is not None:
            words = ", ".join(f"{change:.4g}" for change in changes)
            rows.append(("published largest change of one layer alone", words))
    if (returns := compression.clean_return) is not None:
        words = f"{returns.compressed:.0f}, of the original {returns.original:.0f}"
        rows.append((f"clean return, {returns.episodes} episodes", words))
    title = f"compressed {result.folder} (control error: {compression.errors.units})"
    return Table(title, ("what", "value"), rows)


def _chosen_by(compression: "Compression") -> str:
    if compression.method is None:
        return "no weight removed"
    rows = compression.block_rows
    blocks = "" if rows == 1 else f", blocks of {rows} x 1"
    return f"{compression.method}, {compression.allocation}{blocks}"


def _error_rows(compression: "Compression") -> list[tuple[str, str]]:
    errors = compression.errors
    rows = []
    for error, domain in (
        (errors.visited, "states of the original"),
        (errors.own, "states of its own"),
        (errors.box, "box states"),
    ):
        if error is not None:
            rows.append(_error_row(error, domain))
    return rows


def _error_row(error: "ControlError | Unknown", domain: str) -> tuple[str, str]:
    if isinstance(error, Unknown):
        return f"control error, {domain}", f"not certified: {error.reason}"
    where = f"{error.num_states} {domain}" + (f" + {error.epsilon:g}" if error.epsilon else "")
    value = f"certified {proved(error.certified)}, measured {cell(error.measured)}"
    return f"control error, {where}", value
