"""5. Tell: render the closed list of events, as JSON lines and for a person to read.

It may not decide anything about a message.
"""
