"""Studies behind the claims."""
