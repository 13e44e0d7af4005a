"""surefoot.export."""
