"""A bundle that was certified for another arithmetic is neither run, attacked nor verified."""

import numpy as np
import pytest

from support.certificates import certificate_of
from support.command_line import run_pipeline
from support.policies import random_policy
from surefoot.artifact import Artifact
from surefoot.bundle import write_bundle
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx


@pytest.fixture(params=["tf32", "float16"])
def bundle(request, tmp_path):
    file = policy_from_onnx(policy_to_onnx(random_policy(np.random.default_rng(0), (4, 8, 2))))
    certificate = certificate_of(file, arithmetic=request.param)
    files = {
        "policy.onnx": file.data,
        "policy.json": Artifact(kind="policy", files={"policy.onnx": file.data}).manifest(),
        "certificate.json": certificate.to_json(),
        "budget.toml": certificate.budget.text.encode(),
    }
    write_bundle(tmp_path / "bundle", files, allow_uncertified=False)
    return tmp_path / "bundle"


@pytest.mark.parametrize("verb", ["attack", "bench", "verify"])
@pytest.mark.parametrize("flags", [(), ("--allow-uncertified",)])
def test_every_verb_refuses_it(bundle, tmp_path, verb, flags):
    out = () if verb == "verify" else ("--out", tmp_path / "result.json")
    done = run_pipeline(verb, bundle, *out, *flags)
    assert done.code == 5
    assert "the runtime has 'float32'" in done.err
    assert not (tmp_path / "result.json").exists()
