"""A secret that is kept for a pack is not had by registering a pack of that name."""

import pytest


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """A secret for the pack `finance`."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token").write_text("s3cr3t-value\n")
    (folder / "token.packs").write_text("other finance\n")
    return {"SECRETS_DIR": str(folder)}


async def test_a_pack_that_a_secret_is_for_is_an_administrators_to_register(client, admin, alice):
    pack = {"ref": "finance", "label": "Mine", "version": "1"}

    refused = await client.post("/api/v1/packs", json=pack, headers=alice)
    other = await client.post("/api/v1/packs", json=pack | {"ref": "finances"}, headers=alice)
    made = await client.post("/api/v1/packs", json=pack, headers=admin)

    assert (refused.status_code, other.status_code, made.status_code) == (403, 201, 201)
    denied = await client.get("/api/v1/audit?result=DENIED", headers=admin)
    assert [row["actor_id"] for row in (await denied.get_json())["data"]] == [alice.user_id]
