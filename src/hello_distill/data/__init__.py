"""From a source (folder, file, Hub) to square 8-bit images with class names."""
