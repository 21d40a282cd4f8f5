"""The single homes: each fact about data, files, options and scores lives here once."""
