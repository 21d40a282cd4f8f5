"""Options of the programs, their parser, the published flags, and the main function of every program.

The options of the segmentation network are in `deeplabv2.settings`.
"""
