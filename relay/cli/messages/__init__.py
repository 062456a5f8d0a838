"""What ``relay queue`` and ``relay dead`` have in common: messages listed, shown and picked."""
