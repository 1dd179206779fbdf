"""Detection of relation arguments: taggers for entities in text, detectors for objects in images.

May import ``modeling``, ``schema``, ``records``, ``registry``, ``hub``, ``errors`` and ``utils``.
The main exports are :func:`rukh.arguments.tagger.load_tagger` and
:func:`rukh.arguments.detection.load_detector`.
"""
