"""Whether a certificate answers what its budget says: the words of it, once more on the robot."""

from collections.abc import Iterator

from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify.behind_gate import enforced_state
from surefoot.certify.proofs import Proofs
from surefoot.errors import InputError


def faults_of_words(certificate: Certificate, proofs: Proofs) -> Iterator[str]:
    """Yield the requirements that are not what the words of the budget mean on the robot."""
    answered = certificate.budget.requirements
    written = Budget.parse(certificate.budget.text).specified_by(answered)
    policy = proofs.policy_of_file
    try:
        enforced = enforced_state(policy, certificate.gate)
        meant = written.on(certificate.robot, policy, proofs.evidence.state_limit, enforced)
    except InputError as error:
        yield f"the budget: {error}"
        return
    for here, said in zip(meant.requirements, answered, strict=True):
        if here != said:
            words = said.describe()
            yield f"{words}: the budget means another perturbation, output, unit or question"
