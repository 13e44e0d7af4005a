"""A bundle that was certified for another arithmetic is neither run, attacked nor verified."""

from pathlib import Path

import numpy as np
import pytest

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.command_line import run_pipeline
from support.policies import file_of, random_policy
from surefoot.bundle import write_bundle


@pytest.fixture(params=["tf32", "float16"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = file_of(random_policy(np.random.default_rng(0), (4, 8, 2)))
    files = bundle_files(file, certificate_of(file, arithmetic=request.param))
    write_bundle(tmp_path / "bundle", files, allow_uncertified=False)
    return tmp_path / "bundle"


@pytest.mark.parametrize("verb", ["attack", "bench", "verify"])
@pytest.mark.parametrize("flags", [(), ("--allow-uncertified",)])
def test_every_verb_refuses_it(
    bundle: Path, tmp_path: Path, verb: str, flags: tuple[str, ...]
) -> None:
    out = () if verb == "verify" else ("--out", tmp_path / "result.json")
    done = run_pipeline(verb, bundle, *out, *flags)
    assert done.code == 5
    assert "the runtime has 'float32'" in done.err
    assert not (tmp_path / "result.json").exists()
