"""Being a service: what the service manager hands over at the start, and what it wants to hear.

It knows systemd's small protocols and nothing of mail; without a manager everything here is silent.
"""
