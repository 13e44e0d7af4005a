"""Training: PPO in PyTorch, robust by one of several defences, sparse by micro-pruning.

`train_policy` takes a `TrainConfig` and gives a `TrainResult`; `save_trained` writes its policy
folder. One iteration plays a rollout (rollout.py: NumPy inference, exact truncation) and updates
the networks (ppo.py: the update; defences.py: the term of a defence in the loss;
perturbation_search.py: the inner maximisation; differentiable_bounds.py: bounds to learn from;
lipschitz.py: the limit on the actor; pruning.py: the masks); learner.py joins them. With ATLA the
adversary is a second learner (atla.py), in a game against the policy (game.py), which attack plays
too. training_run.py holds all that changes and can be stored; checkpoint.py stores it; trainer.py
is the loop.
"""

from surefoot.train.folder import save_trained
from surefoot.train.result import Progress, TrainResult
from surefoot.train.train_config import TrainConfig
from surefoot.train.trainer import train_policy

__all__ = ["Progress", "TrainConfig", "TrainResult", "save_trained", "train_policy"]
