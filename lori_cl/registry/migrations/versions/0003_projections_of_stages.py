"""Every stage with a rank, a projection and input directions of its own."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    with op.batch_alter_table("masks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rank", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("projection", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("directions", sa.JSON(), nullable=True))
    with op.batch_alter_table("projections", schema=None) as batch_op:
        batch_op.alter_column("digest", existing_type=sa.String(), nullable=True)


def downgrade() -> None:
    with op.batch_alter_table("projections", schema=None) as batch_op:
        batch_op.alter_column("digest", existing_type=sa.String(), nullable=False)
    with op.batch_alter_table("masks", schema=None) as batch_op:
        batch_op.drop_column("directions")
        batch_op.drop_column("projection")
        batch_op.drop_column("rank")
