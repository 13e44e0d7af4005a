"""surefoot.envs."""
