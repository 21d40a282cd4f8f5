"""The options of the programs, the parser that reads them, and the flags under which they were published.

The options of the segmentation network are in `deeplabv2.settings`.
"""
