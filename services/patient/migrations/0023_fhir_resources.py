"""Stores the FHIR resources that patients were created or updated with, and erases them with their revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_ERASE_REVISIONS = r"""
    CREATE OR REPLACE FUNCTION erase_revisions(erased uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN
        IF NOT EXISTS (
            SELECT FROM public.erasures WHERE patient_id = erased AND erase_time <= now() AND execute_time IS NULL
        ) THEN
            RAISE EXCEPTION 'no erasure of the patient % is due', erased USING ERRCODE = 'insufficient_privilege';
        END IF;
        UPDATE public.revisions SET patient = '\x0a24'::bytea || convert_to(patient_id::text, 'UTF8'), resource = NULL
        WHERE patient_id = erased;
    END $$
"""


def upgrade() -> None:
    """Adds the columns, which are empty for all other patients, and replaces the function."""
    op.add_column("patients", sa.Column("resource", sa.LargeBinary))
    op.add_column("revisions", sa.Column("resource", sa.LargeBinary))
    op.execute(_ERASE_REVISIONS)
