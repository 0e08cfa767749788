"""Commands of the manifest that act on a viewer."""

# napari reads these annotations at run time to hand in the viewer.
from napari.viewer import Viewer


def segment_selected_layer(viewer: Viewer) -> None:
    """Open the Brushfire panel and use the selected image layer as its volume."""
    from brushfire.ui.controller import Controller
    from brushfire.ui.dock import BrushfireDock

    controller = Controller.of(viewer)
    viewer = controller.viewer
    if not any(isinstance(w, BrushfireDock) for w in viewer.window.dock_widgets.values()):
        viewer.window.add_plugin_dock_widget("napari-brushfire", "Brushfire")
    layer = viewer.layers.selection.active
    if layer is None:
        controller.say("info", "Select an image layer in the list at the left first.")
        return
    controller.use_layer(layer)
