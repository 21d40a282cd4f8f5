"""The HTML report of a run: choice of runs and images, tables, charts, gallery, and the page."""
