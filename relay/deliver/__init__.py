"""4. Hand over: one transaction over a pooled connection, one result for each recipient.

It may not know the store or the tenants; it raises nothing to its caller.
"""
