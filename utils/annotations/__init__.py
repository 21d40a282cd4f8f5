"""Label maps as files of annotation tools, and back: one format, one file, with what writes it and what reads it.

Which photos are meant, and what their tags become, is the matter of the scripts.
"""
