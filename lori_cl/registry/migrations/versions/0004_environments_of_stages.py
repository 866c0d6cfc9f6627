"""The environment that computed each stage; a stage without one was computed in its run's."""

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    # SQLite adds a foreign key in place in no other way, and a copied table would leave its masks behind.
    op.execute(
        "ALTER TABLE stages ADD COLUMN environment_id INTEGER "
        "CONSTRAINT fk_stages_environment_id_environments REFERENCES environments (id)"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE stages DROP COLUMN environment_id")
