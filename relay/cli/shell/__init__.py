"""The command line as shells, and people who mistype, meet it: completion, advice, the man page."""
