"""``manage.py workers token|end-tokens|list|revoke``: agents of GPU hosts."""

import json
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.services import agent_revoke
from marketplace.agents.sites import site_of
from marketplace.agents.tokens import HOURS_DEFAULT, worker_token_create, worker_token_end
from marketplace.catalog.models import Pool


class Command(BaseCommand):
    help = "Let GPU hosts join a pool, list their agents, and revoke them."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        token = verbs.add_parser("token", help="make a token and print it, once")
        token.add_argument("--pool", required=True, help="the pool that the host joins")
        token.add_argument("--hours", type=int, default=HOURS_DEFAULT, help="how long it is valid")
        token.add_argument("--reusable", action="store_true", help="any number of hosts join by it")
        token.add_argument("--json", action="store_true", dest="as_json")
        end = verbs.add_parser("end-tokens", help="let nobody join by a pool's tokens any longer")
        end.add_argument("--pool", required=True)
        verbs.add_parser("list", help="list the agents")
        revoke = verbs.add_parser("revoke", help="end an agent for good and drain its workers")
        revoke.add_argument("name")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        verbs = {"token": self._token, "end-tokens": self._end_tokens}
        verbs |= {"list": self._list, "revoke": self._revoke}
        verbs[verb](options)

    def _token(self, options: dict[str, Any]) -> None:
        pool = self._pool(options["pool"])
        try:
            row, token = worker_token_create(
                pool=pool, hours=options["hours"], reusable=options["reusable"]
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["as_json"]:
            told = {"pool": pool.name, "token": token, "expires_at": row.expires_at.isoformat()}
            self.stdout.write(json.dumps(told | {"marketplace": settings.WAYPOST_PUBLIC_URL}))
        else:
            self.stdout.write(token)

    def _end_tokens(self, options: dict[str, Any]) -> None:
        tokens = WorkerToken.objects.filter(pool=self._pool(options["pool"]))
        still_open = [token for token in tokens if token.state == "open"]
        for token in still_open:
            worker_token_end(token)
        self.stdout.write(f"{len(still_open)} tokens are ended")

    def _pool(self, name: str) -> Pool:
        pool = Pool.objects.filter(name=name).first()
        if pool is None:
            known = ", ".join(Pool.objects.values_list("name", flat=True)[:10]) or "none yet"
            raise CommandError(f"no pool is called {name!r} (there is: {known})")
        return pool

    def _list(self, options: dict[str, Any]) -> None:
        for agent in Agent.objects.exclude(pool=None).select_related("pool"):
            state = "revoked" if agent.revoked_at else "registered"
            seen = f"seen {agent.seen_at:%Y-%m-%d %H:%M:%S}" if agent.seen_at else "never seen"
            self.stdout.write(f"{agent.name}\t{site_of(agent).name}\t{state}\t{seen}")

    def _revoke(self, options: dict[str, Any]) -> None:
        agent = Agent.objects.exclude(pool=None).filter(name=options["name"]).first()
        if agent is None:
            raise CommandError(f"no agent is called {options['name']!r}: see `workers list`")
        agent_revoke(agent=agent)
        self.stdout.write(f"{agent.name} is revoked")
