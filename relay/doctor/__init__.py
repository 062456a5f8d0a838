"""Deliverability: what receivers find in the DNS about the domains that mail leaves under.

It is told what leaves under which domain and by whom; it knows no route, store or connection.
"""
