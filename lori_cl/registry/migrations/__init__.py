"""Alembic's migrations; `lori_cl.registry.migrate` runs them."""
