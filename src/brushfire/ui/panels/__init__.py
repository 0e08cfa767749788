"""The four steps of the dock, one file each."""
