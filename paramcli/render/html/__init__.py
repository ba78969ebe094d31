"""Reports as one HTML file: inline style and SVG, no script, nothing from elsewhere."""
