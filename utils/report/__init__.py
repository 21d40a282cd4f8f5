"""The HTML report of a run: which runs and images are shown, tables, charts, gallery, and the page itself."""
