"""The one loop that ties the rooms: claim -> route -> deliver -> settle.

It owns lanes, retries and the clock; it may not know SMTP, SQL or how events are rendered.
"""
