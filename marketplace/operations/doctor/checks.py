"""What the doctor looks at, in this order: what much depends on comes first."""

from marketplace.operations.doctor import data_services, machine, work
from marketplace.operations.doctor.findings import Check

DATABASE = ("database",)
TABLES = ("database", "migrations")
START = "start it (manage.py up starts all of it on one machine)"
SEE_LOG = "see the reason, and the log of PostgreSQL"

CHECKS = (
    Check("settings", machine.settings_given, "docs/reference/settings.md"),
    Check("front end", machine.front_end, "make setup"),
    Check("disk", machine.disk, "is WAYPOST_HOME a folder of this machine?"),
    Check("journals", machine.journals, "may this user read WAYPOST_HOME?"),
    Check("files", machine.files, "may this user write there? docs/reference/settings.md"),
    Check("database", data_services.database, f"is PostgreSQL up at DATABASE_URL? {START}"),
    Check("migrations", data_services.migrations, SEE_LOG, DATABASE),
    Check("rights", data_services.rights, SEE_LOG, TABLES),
    Check("secrets", data_services.secrets, SEE_LOG, TABLES),
    Check("clock", data_services.clock, SEE_LOG, DATABASE),
    Check("broker", data_services.broker, f"is it up at BROKER_URL? {START}"),
    Check("router", work.router_answers, f"is it up at WAYPOST_ROUTER_URL? {START}"),
    Check("routers", work.routers, SEE_LOG, TABLES),
    Check("queues", work.queues, SEE_LOG, TABLES),
    Check("jobs", work.jobs, SEE_LOG, TABLES),
    Check("dead letters", work.dead_letters, SEE_LOG, TABLES),
    Check("webhooks", work.webhooks, SEE_LOG, TABLES),
    Check("books", work.books, SEE_LOG, TABLES),
    Check("backups", data_services.backups, SEE_LOG, TABLES),
    Check("leases", work.leases, SEE_LOG, TABLES),
    Check("mail", machine.mail, "is the server of EMAIL_URL up, and the password right?"),
    Check("certificate", machine.certificate, "does WAYPOST_PUBLIC_URL lead to the pages?"),
)
