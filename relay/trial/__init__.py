"""What ``relay test`` does: sample messages, a tenant's own way for them, and a handover by that.

Composed of route, deliver and dispatch's packer; it knows neither the queue nor the command line.
"""
