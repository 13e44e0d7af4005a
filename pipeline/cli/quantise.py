"""``pipeline quantise``: a policy with weights of 8 bits, which needs a certificate of its own."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import Json
from surefoot.cli import console
from surefoot.cli.options import AsJson
from surefoot.onnx_format import POLICY_FILE, load_controller_file, save_policy
from surefoot.policy import weights_sha256


def quantise(
    policy: Annotated[Path, typer.Argument(help="A run or a policy folder.")],
    out: Annotated[Path, typer.Option(help="Policy folder to write.")],
    as_json: AsJson = False,
) -> None:
    """Round the weights to 8 bits: another policy, to be certified and exported by itself."""
    from surefoot.artifact import sha256_hex
    from surefoot.export import quantise_policy

    file = load_controller_file(policy)
    quantised = quantise_policy(file.policy)
    own = ("format", "head", "weights_sha256")
    metadata = {key: value for key, value in file.metadata.items() if key not in own}
    # States that the old policy visited are none that this one visits: they stay behind.
    save_policy(out, quantised, metadata=metadata, inputs={POLICY_FILE: sha256_hex(file.data)})
    result: dict[str, Json] = {
        "policy": str(out),
        "weights_sha256": weights_sha256(quantised),
        "sparsity": quantised.sparsity,
    }
    console.show(
        as_json, result, console.table("8-bit weights", ("what", "value"), [*result.items()])
    )
