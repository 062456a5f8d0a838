"""2. Keep it: messages, recipients, content, toggles and the trail, durably, in one store.

It may not know how mail came in, where it goes, or how events are rendered.
"""
