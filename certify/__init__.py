"""surefoot.certify."""
