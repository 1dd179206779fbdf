"""Studies: questions put to data and to configurations, answered with intervals.

Nothing here is needed to extract; scikit-learn comes with the extra ``study``.
"""
