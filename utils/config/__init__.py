"""The options of the programs, the parser that reads them, the published flags, and the body of every program.

The options of the segmentation network are in `deeplabv2.settings`.
"""
