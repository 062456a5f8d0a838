"""Who is told of which trouble, when, and in what words: pure but for the moment it is given.

It may not send anything, nor know of queues and upstreams more than an incident says.
"""
