"""surefoot.attack."""
