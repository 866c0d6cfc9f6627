"""An example plugin of lori_cl: a method and a scorer."""
