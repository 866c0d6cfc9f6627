"""An example plugin of lori_cl: one implementation for each group of entry points."""
