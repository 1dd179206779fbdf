"""Seeds: the mean and deviation of models that were trained alike with different seeds."""
