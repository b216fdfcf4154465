"""Creates the tables, the topic and the first user: `python -m bench.twin.setup`."""

import asyncio

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from bench.twin.database import Database
from bench.twin.models import Base, User
from bench.twin.security import Passwords
from bench.twin.settings import PARTITIONS, TOPIC, Settings

ADMIN = "admin@twin.local"

_TOPIC_SECONDS = 10


async def main() -> None:
    """Creates what is missing."""
    settings = Settings.read()
    broker = AdminClient({"bootstrap.servers": settings.kafka})
    broker.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(_TOPIC_SECONDS)
    db = Database(settings.database_url)
    user = {"id": uuid7(), "email_key": ADMIN, "role": "ADMIN"}
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
        await connection.run_sync(Base.metadata.create_all)
        password_hash = Passwords().hash(settings.admin_password)
        await connection.execute(insert(User).values(**user, password_hash=password_hash).on_conflict_do_nothing())
    await db.close()


if __name__ == "__main__":
    asyncio.run(main())
