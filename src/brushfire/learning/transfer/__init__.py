"""Starting from what was learned elsewhere: which weights are taken over, and which may move."""
