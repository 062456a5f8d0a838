"""The nouns of the relay: frozen values and the protocols by which the rooms meet.

Standard library only; it may not know any other room.
"""
