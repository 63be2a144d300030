import uuid

from models.records import uuid7


def test_ids_sort_by_time_and_say_their_version():
    older, newer = uuid7(1_700_000_000_000), uuid7(1_700_000_000_001)

    assert older < newer
    assert (older.version, older.variant) == (7, uuid.RFC_4122)


def test_ids_of_one_millisecond_differ():
    assert len({uuid7(1) for _ in range(1000)}) == 1000
