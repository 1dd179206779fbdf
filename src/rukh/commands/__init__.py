"""One module a command; each imports only typer and the standard library until it is run."""
