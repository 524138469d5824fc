"""The commands of `bigearthnet-tf`, one module each.

A module has `add_arguments(parser)` and `run(arguments)`; its docstring is the help.
`cli.COMMANDS` lists them. A module is imported when its command is called, so the
others may take their time to load.
"""
