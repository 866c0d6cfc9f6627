"""Using a trained run: export, import, merge, predict, route, retire and verify."""
