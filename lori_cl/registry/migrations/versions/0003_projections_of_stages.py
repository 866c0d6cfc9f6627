"""Every stage with a rank, a projection and input directions of its own; and stages that can be retired."""

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
    with op.batch_alter_table("stages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("retired_after", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("stages", schema=None) as batch_op:
        batch_op.drop_column("retired_at")
        batch_op.drop_column("retired_after")
    with op.batch_alter_table("projections", schema=None) as batch_op:
        batch_op.alter_column("digest", existing_type=sa.String(), nullable=False)
    with op.batch_alter_table("masks", schema=None) as batch_op:
        batch_op.drop_column("directions")
        batch_op.drop_column("projection")
        batch_op.drop_column("rank")
