"""The product's own declarations and migrations agree."""


async def test_the_migrations_build_what_the_schema_declares(db):
    assert await db.check_schema() == []


async def test_migrating_again_changes_nothing(db):
    assert await db.migrate("migrations") == []
