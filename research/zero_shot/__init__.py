"""Zero-shot: how well does a model predict relations that its training never showed?"""
