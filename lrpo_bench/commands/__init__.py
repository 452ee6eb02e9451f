"""The commands of the command line.

`NAME.py` holds options and light handlers; `NAME_console.py` the work, imported when it is asked for.
"""
