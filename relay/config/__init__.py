"""YAML and environment -> checked, frozen values; every problem with file:line:column.

It may not know what the other rooms do with a value.
"""

from relay.config.loader import load
from relay.config.location import find_config_file
from relay.config.problem import ConfigError, Problem

__all__ = ["ConfigError", "Problem", "find_config_file", "load"]
