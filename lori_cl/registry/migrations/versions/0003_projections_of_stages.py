"""Stages with a rank, projection and directions, which can be retired; how tasks are distinguished."""

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
    op.create_table(
        "task_statistics",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact"], ["artifacts.digest"], name=op.f("fk_task_statistics_artifact_artifacts")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_task_statistics_run_id_runs")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_task_statistics_task_id_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_statistics")),
        sa.UniqueConstraint("run_id", "task_id", name=op.f("uq_task_statistics_run_id")),
    )
    with op.batch_alter_table("stages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("retired_after", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("stages", schema=None) as batch_op:
        batch_op.drop_column("retired_at")
        batch_op.drop_column("retired_after")
    op.drop_table("task_statistics")
    with op.batch_alter_table("projections", schema=None) as batch_op:
        batch_op.alter_column("digest", existing_type=sa.String(), nullable=False)
    with op.batch_alter_table("masks", schema=None) as batch_op:
        batch_op.drop_column("directions")
        batch_op.drop_column("projection")
        batch_op.drop_column("rank")
