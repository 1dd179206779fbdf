"""Schema map: which relations lie close together in the text encoder's space?"""
