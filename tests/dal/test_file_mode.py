"""What is in the database is for its owner's eyes."""

from models.dal import AsyncDAL
from models.schema import declare


async def test_a_new_database_and_the_files_beside_it_are_readable_by_their_owner_alone(tmp_path):
    folder = tmp_path / "data"
    async with declare(AsyncDAL(f"sqlite:///{folder}/new.db")) as db:
        await db.sql("CREATE TABLE t (a INTEGER)")

        modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}

    assert modes.keys() == {"new.db", "new.db-wal", "new.db-shm"}
    assert set(modes.values()) == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
