"""surefoot: from a control task to a small neural controller that may be deployed.

A task is trained into a policy, compressed, certified, exported to a bundle, and run:

    task -> train -> Policy -> compress -> Policy -> certify -> Certificate -> export -> Bundle
         -> runtime (actions) and attack (Evaluation)

The words, one per thing:

* policy: the function that a network computes, with normaliser and head.
* controller: a policy on a backend.
* observation: what the sensors give, raw units.
* state: the normalised observation, after normaliser and clip; the input of the network.
* perturbation, epsilon, norm: what an adversary may add, in normalised units unless `raw` is said.
* budget: the requirements of a deployment.
* certificate: bounds, proofs and verdicts about one weights digest.
* bundle: the deployed folder.
* sparsity: the fraction of weights that are zero (biases not counted); density = 1 - sparsity.
* clean return, attacked return: the undiscounted sum of rewards of an episode.
"""

__version__ = "0.1.0"
