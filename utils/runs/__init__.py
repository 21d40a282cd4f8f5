"""Where the artefacts of a run lie, of both networks, and what a later step takes over from it.

Writing them is the business of the steps; showing them that of `utils.report`.
"""
