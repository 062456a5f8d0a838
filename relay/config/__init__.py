"""YAML and environment -> checked, frozen values; every problem with file:line:column.

It may not know what the other rooms do with a value.
"""

from relay.config.advice import warnings
from relay.config.editor import json_schema
from relay.config.loader import find_config_file, load
from relay.config.problem import ConfigError, Problem

__all__ = ["ConfigError", "Problem", "find_config_file", "json_schema", "load", "warnings"]
