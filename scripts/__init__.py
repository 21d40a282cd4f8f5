"""The steps of the pipeline, one file and one run(options) each, joined by files on disk."""
