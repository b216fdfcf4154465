"""Stores the folded words of each patient, which searches read, with a trigram index.

Postgres computes the words, so rows that the previous version writes have it too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_ACCENTS = "\u00b4\u1fbd\u1fbf\u1ffd\u1ffe"
_IGNORED = (
    r"''`\u00B7\u02B9-\u02BF\u02C8\u02CA\u02CB\u055A\u05F3\u05F4\u2018-\u201B\u2032\u2035\uA78B\uA78C"
    r"\u0300-\u036F\u0483-\u0487\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20F0\uFE20-\uFE2F"
    r"\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7"
    r"\u0610-\u061A\u0640\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7\u06E8\u06EA-\u06ED\u0730-\u074A"
    r"\u00AD\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF"
    r"\uFFF0-\uFFF8\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF"
)
_IDEOGRAPHS = r"\u3005-\u3007\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFF"
_SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u02C2-\u02DF\u037E\u055B-\u055F\u0589\u058A"
    r"\u05BE\u05C0\u05C3\u05C6\u0600-\u060F\u061B\u061D-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0970\u1680"
    r"\u2000-\u206F\u20A0-\u20CF\u2190-\u2BFF\u2E00-\u2E7F\u3000-\u3004\u3008-\u3020\u3030\u303D-\u303F\u30A0\u30FB"
    r"\uFFFC\uFFFD\U0001F000-\U0001FAFF"
)
_NUMBER_PUNCTUATION = r"\u0020\u0028\u0029\u002B\u002D-\u002F\u2010-\u2015\u2212"
_FROM, _TO = "\u03c2\u0131øłđðħŧŋəɛɔɓɖɗɨʉƙƴȼɫɲ", "\u03c3iolddhtneeobddiukycln"

_FOLD_WORDS = rf"""
    CREATE FUNCTION fold_words(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN translate(regexp_replace(regexp_replace(regexp_replace(
        replace(replace(replace(replace(translate(lower(
            regexp_replace(normalize(translate(value, '{_ACCENTS}', ''), NFKD), '[{_IGNORED}]', '', 'g')
        COLLATE pg_c_utf8), '{_FROM}', '{_TO}'), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'),
        '(?<=[0-9])[{_NUMBER_PUNCTUATION}]+(?=[0-9])', '', 'g'),
        '([{_IDEOGRAPHS}])', ' \1 ', 'g'), '[{_SEPARATORS}]+', ' ', 'g'), U&'\E000', ' ')
"""
"""Returns the words of a text as services.common.folding does, with spaces between them.

U+E000 separates texts that are folded together.
"""

_WORDS = r"""
    ' ' || translate(encode(fold_words(
        name || U&'\E000' || email || U&'\E000' || coalesce(medical_record_number, '') || U&'\E000' || phone
    )::bytea, 'escape'), '\', 'U') || ' '
"""
"""The folded words in ASCII, because pg_trgm indexes other letters only in some locales."""


def upgrade() -> None:
    """Creates the functions, the column and its index."""
    op.execute(_FOLD_WORDS)
    op.add_column("patients", sa.Column("words", sa.Text, sa.Computed(_WORDS, persisted=True), nullable=False))
    op.create_index(
        "patients_by_words", "patients", ["words"], postgresql_using="gin", postgresql_ops={"words": "gin_trgm_ops"}
    )
