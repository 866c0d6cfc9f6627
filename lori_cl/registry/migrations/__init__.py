"""Alembic migrations; `lori_cl.registry.migrate` runs them."""
