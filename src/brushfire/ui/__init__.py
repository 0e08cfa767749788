"""The only napari and Qt code: it translates between the window and a session."""
