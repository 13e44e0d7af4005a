"""surefoot.runtime."""
