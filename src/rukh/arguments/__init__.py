"""Arguments of relations: taggers find and type entities in text, detectors find objects in images.

May import ``modeling``, ``schema``, ``records``, ``registry``, ``hub``, ``errors`` and ``utils``.
The main exports are :func:`rukh.arguments.tagger.load_tagger` and
:func:`rukh.arguments.detection.load_detector`.
"""
