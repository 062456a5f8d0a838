"""Loopback upstreams with real TLS and AUTH, for the demo and the drill.

It may not touch a real upstream or the operator's store.
"""
