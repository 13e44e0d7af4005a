"""What a bundle holds at the least."""

from surefoot.artifact import Artifact
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE
from surefoot.certificate import Certificate
from surefoot.onnx_file import POLICY_FILE, ControllerFile


def bundle_files(file: ControllerFile, certificate: Certificate) -> dict[str, bytes]:
    """The files of a bundle, by name."""
    return {
        POLICY_FILE: file.data,
        ORIGIN_FILE: Artifact(kind="policy", files={POLICY_FILE: file.data}).manifest(),
        CERTIFICATE_FILE: certificate.to_json(),
        BUDGET_FILE: certificate.budget.text.encode(),
    }
