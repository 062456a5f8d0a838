"""What is known of each provider, as data: one YAML file each, and general.yaml for all of them.

It holds no code and may not know what the rooms do with it; config.providers reads it.
"""
