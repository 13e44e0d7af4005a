"""surefoot.compress."""
