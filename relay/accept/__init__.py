"""1. Take responsibility: sessions, who may send, limits, the content as it arrived.

It may not know the store's form, the upstreams, or what becomes of a message after its 250.
"""
