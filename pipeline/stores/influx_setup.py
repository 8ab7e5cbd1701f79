"""Prepares an InfluxDB 2: buckets with their age, InfluxQL names of the same name, and tokens that may do one thing.

What is there already stays; only a bucket's age is brought to what the config says. The administrator's token is needed
for this and for nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import influxdb_client
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from cellherd.errors import CellherdError
from cellherd.settings import Influx

_api: Any = influxdb_client  # half of it has types
DAY_S = 86_400
SHARD_S = 7 * DAY_S
"""Days that lie in one shard: history that comes late makes few old shards compact again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The buckets of all, or of one installer, and where their two tokens go."""

    settings: Influx
    write_file: Path
    read_file: Path
    whose: str = ""


def wanted(settings: Influx, installers: Sequence[str], folder: Path) -> list[Wanted]:
    """What fleet.toml asks for; the ingester's token gets the name that `token_file` gives it."""
    owners = list(installers) if settings.by_installer() else [""]
    found = []
    for owner in owners:
        own = settings.of(owner)
        write = Path(own.token_file or "influx-token").name
        read = f"influx-grafana-token-{owner}" if owner else "influx-grafana-token"
        found.append(Wanted(own, folder / write, folder / read, owner))
    return found


class Server:
    """An InfluxDB 2, spoken to with the administrator's token. Raises CellherdError with what the server says."""

    def __init__(self, settings: Influx, admin_token: str) -> None:
        self._url, self._org = settings.url, settings.org
        self._client: Any = _api.InfluxDBClient(settings.url, admin_token, org=settings.org, timeout=10_000)

    def prepare(self, one: Wanted, *, renew: bool = False) -> Iterator[str]:
        """Make all that is missing; yields a line for everything that was done."""
        try:
            yield from self._prepare(one, renew)
        except ApiException as error:
            said = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body)
            raise CellherdError(f"InfluxDB at {self._url}: {error.status} {error.reason} {said[:300]}") from None
        except (HTTPError, OSError) as error:
            raise CellherdError(f"InfluxDB at {self._url} does not answer: {error}") from None

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _prepare(self, one: Wanted, renew: bool) -> Iterator[str]:
        org = self._org_id()
        ids = []
        buckets = ((one.settings.bucket, one.settings.keep_days),
                   (one.settings.derived_bucket, one.settings.derived_keep_days))  # fmt: skip
        for name, days in buckets:
            bucket, done = self._bucket(org, name, days)
            yield from done
            yield from self._named(org, bucket, name)
            ids.append(bucket)
        suffix = f" {one.whose}" if one.whose else ""
        yield from self._token(org, f"cellherd ingest{suffix}", ("write", ids), one.write_file, renew)
        yield from self._token(org, f"cellherd grafana{suffix}", ("read", ids), one.read_file, renew)

    def _org_id(self) -> str:
        found = self._client.organizations_api().find_organizations(org=self._org)
        if not found:
            raise CellherdError(f"InfluxDB at {self._url} has no organisation {self._org!r}; set influx.org")
        return str(found[0].id)

    def _bucket(self, org: str, name: str, days: int) -> tuple[str, list[str]]:
        """The bucket's id, and what had to be done for it."""
        api = self._client.buckets_api()
        shard = SHARD_S if not days or days * DAY_S > SHARD_S else None
        rule = _api.BucketRetentionRules(every_seconds=days * DAY_S, shard_group_duration_seconds=shard)
        age = f"kept {days} days" if days else "kept for ever"
        known = self._find(api, org, name)
        if known is None:
            return str(api.create_bucket(bucket_name=name, org=org, retention_rules=rule).id), [f"bucket {name}: {age}"]
        if sum(one.every_seconds or 0 for one in known.retention_rules or []) == days * DAY_S:
            return str(known.id), []
        known.retention_rules = [rule]
        api.update_bucket(bucket=known)
        return str(known.id), [f"bucket {name}: now {age}"]

    @staticmethod
    def _find(api: Any, org: str, name: str) -> Any:
        try:
            found = api.find_buckets(name=name, org_id=org).buckets or []
        except ApiException as error:
            if error.status != 404:  # which says that there is no such bucket
                raise
            return None
        return next((one for one in found if one.name == name), None)

    def _named(self, org: str, bucket: str, name: str) -> Iterator[str]:
        service = _api.DBRPsService(self._client.api_client)
        known = service.get_dbr_ps(org_id=org, bucket_id=bucket).content or []
        if not any(one.database == name and one.default for one in known):
            service.post_dbrp(
                _api.DBRPCreate(org_id=org, bucket_id=bucket, database=name, retention_policy="autogen", default=True)
            )
            yield f"InfluxQL name {name}"

    def _token(
        self, org: str, about: str, may: tuple[Literal["read", "write"], Sequence[str]], file: Path, renew: bool
    ) -> Iterator[str]:
        if file.exists() and file.stat().st_size and not renew:
            return
        api, (action, buckets) = self._client.authorizations_api(), may
        former = [one for one in api.find_authorizations(org_id=org) if one.description == about]
        resources = [_api.PermissionResource(type="buckets", id=bucket, org_id=org) for bucket in buckets]
        rights = [_api.Permission(action=action, resource=resource) for resource in resources]
        made = api.create_authorization(
            authorization=_api.Authorization(org_id=org, permissions=rights, description=about)
        )
        keep_secret(file, made.token)
        for one in former:  # nobody knows it any more, or it was to be renewed
            api.delete_authorization(one.id)
        yield f"{file}: may {action} these two buckets, nothing else"


def keep_secret(file: Path, secret: str) -> None:
    """Put a secret into a file that only we may read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(secret + "\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
