"""surefoot.study."""
