"""Studies: what a figure rests on, asked of data and of configurations."""
