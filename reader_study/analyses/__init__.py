"""The statistics of the report: one module each, and one row each in ``table``.

A module computes its result from ``Readings`` (scores with known arms) and says how the report shows it. The
arithmetic of published methods lives in ``reader_study.statistics``.
"""
