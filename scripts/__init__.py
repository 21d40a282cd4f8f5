"""The steps of the pipeline: one file with one run(options) each, connected by files on disk."""
