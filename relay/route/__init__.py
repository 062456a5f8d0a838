"""3. Choose: pure functions from a frozen snapshot and a message to tenant, ways and identity.

It may not do any input or output, nor look at a clock.
"""
