"""Forgotten uploads, and when a rescan quarantined a transcript."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('forgotten',
    sa.Column('upload', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('why', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('made_by', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('learnt', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('upload')
    )
    op.add_column(
        'transcript',
        sa.Column('quarantined_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    )
    # nobody wrote down when, so their period begins now
    op.execute("UPDATE transcript SET quarantined_at = CURRENT_TIMESTAMP WHERE quarantined IS NOT NULL")


def downgrade() -> None:
    op.drop_column('transcript', 'quarantined_at')
    op.drop_table('forgotten')
