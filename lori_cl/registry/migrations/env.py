"""Alembic environment: migrates the connection passed by `lori_cl.registry.migrate`."""

from alembic import context

from lori_cl.registry.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
