"""Statistics of multi-reader multi-case studies, one idea a module; arrays are `[arm, reader, case]`.

Arm 0 is the reference, arm 1 the new method; scores are oriented so that higher is better; NaN is a missing score.
"""
