"""Paths of a run's artefacts, for both networks, and what later steps read from them.

The steps write them; `utils.report` shows them.
"""
