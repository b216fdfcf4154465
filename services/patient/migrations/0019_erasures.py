"""Adds the erasures of patients, and the function that erases revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_ERASE_REVISIONS = r"""
    CREATE FUNCTION erase_revisions(erased uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN
        IF NOT EXISTS (
            SELECT FROM public.erasures WHERE patient_id = erased AND erase_time <= now() AND execute_time IS NULL
        ) THEN
            RAISE EXCEPTION 'no erasure of the patient % is due', erased USING ERRCODE = 'insufficient_privilege';
        END IF;
        UPDATE public.revisions SET patient = '\x0a24'::bytea || convert_to(patient_id::text, 'UTF8')
        WHERE patient_id = erased;
    END $$
"""
"""The function runs as the owner of the tables, because the role of the service cannot change revisions.

It leaves messages that have only the id of the patient: field 1, with 36 bytes.
"""


def upgrade() -> None:
    """Creates the table and the function."""
    op.create_table(
        "erasures",
        sa.Column("patient_id", sa.Uuid, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("request_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("erase_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("execute_time", sa.DateTime(timezone=True)),
        sa.Column("restricted", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("erasures_due", "erasures", ["erase_time"], postgresql_where=sa.text("execute_time IS NULL"))
    op.execute(_ERASE_REVISIONS)
