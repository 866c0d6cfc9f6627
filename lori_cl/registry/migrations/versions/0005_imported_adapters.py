"""The adapter that a run was begun with, by digest; earlier runs did not write down what theirs was."""

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("imported", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "imported")
