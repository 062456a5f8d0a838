"""YAML and environment -> checked, frozen values; every problem with file:line:column.

It may not know what the other rooms do with a value.
"""
