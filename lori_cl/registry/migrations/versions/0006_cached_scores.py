"""The source of a score that was not measured again: `cached`, which earlier versions stored as `proved`."""

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    op.execute("UPDATE evaluations SET source = 'cached' WHERE source = 'proved'")


def downgrade() -> None:
    op.execute("UPDATE evaluations SET source = 'proved' WHERE source = 'cached'")
