"""Which tests share servers that take long to start, and which files take longest."""

SERVERS = (
    "tests/contract",
    "tests/integration/agents",
    "tests/integration/backends",
    "tests/integration/local",
    "tests/integration/router",
    "tests/integration/workers",
    "tests/integration/marketplace/shared/jobs",
    "tests/integration/marketplace/providers/test_conformance.py",
    "tests/integration/marketplace/benchmarks/loadgen",
    "tests/integration/marketplace/benchmarks/runs/test_measuring.py",
)
"""What mostly waits for servers; the rest of the marketplace's tests computes."""
TOGETHER = {
    # They share inference servers that take long to start; those of routers have their own.
    "routers": ("tests/integration/router/",),
    "brokers": ("tests/integration/workers/", "tests/integration/marketplace/shared/jobs/"),
    "agents": ("tests/integration/agents/",),
    "engines": (
        "tests/integration/backends/",
        "tests/integration/marketplace/providers/test_conformance.py",
        "tests/integration/marketplace/benchmarks/loadgen/test_callers.py",
        "tests/integration/marketplace/benchmarks/runs/test_measuring.py",
    ),
    # They call the demo's models, and look at how quick that was or at what was called.
    "calls": ("tests/e2e/calls/",),
}
LONG = (
    "tests/e2e/test_accessibility.py",
    "tests/e2e/test_providing.py",
    "tests/integration/local/test_commands.py",
    "tests/integration/marketplace/planning/whatif/test_what_if.py",
    "tests/integration/marketplace/usage/rollups/test_sums.py",
    "tests/integration/marketplace/config/test_roles.py",
)
