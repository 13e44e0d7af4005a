"""The checker accepts whatever a test of this folder certifies."""

from collections.abc import Iterator

import pytest

from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify import (
    CertifyConfig,
    Evidence,
    certify_policy,
    check_certificate,
)
from surefoot.onnx_file import ControllerFile


def certify_and_check(
    file: ControllerFile, budget: Budget, evidence: Evidence, config: CertifyConfig
) -> Certificate:
    """Certify, and prove what came out again from its saved form."""
    certificate = certify_policy(file, budget, evidence, config)
    report = check_certificate(
        Certificate.parse(certificate.to_json()),
        file,
        observations=evidence.observations,
        sampled=evidence.sampled,
        dense_policy=evidence.dense_policy,
    )
    assert len(report.proved) + len(report.unchecked) == len(budget.requirements)
    return certificate


@pytest.fixture(scope="module", autouse=True)
def _every_certificate_is_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """The checker accepts every certificate that a test of this folder makes."""
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(request.module, "certify_policy"):
            patch.setattr(request.module, "certify_policy", certify_and_check)
        yield
