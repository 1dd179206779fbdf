"""Entity resolution on 300 labelled pairs of names, and the threshold of misspelt names."""
