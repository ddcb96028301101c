"""Where backbones and embedded sentences come from."""
