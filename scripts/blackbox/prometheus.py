"""Checks of what Prometheus and Grafana read.

    python3 -m blackbox.prometheus rules         alert rules, their tests, targets and dashboards
    python3 -m blackbox.prometheus scrape URL... the metrics of programs that run, by their addresses

Both need promtool; without one the output says so, which is a failure in CI. The first needs requirements-lint.txt.
"""

import json
import re
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from blackbox import promtool

LIST = Path("crates/platform/telemetry/src/metrics/list.rs")
PROMETHEUS = Path("deploy/prometheus")
DASHBOARDS = Path("deploy/grafana/dashboards")
ALWAYS = {"build_info", "process_start_time_seconds", "process_resident_memory_bytes"}
# metrics of Prometheus itself, and labels that it adds
OWN = {"up": frozenset({"job", "instance"})}
ADDED = {"job", "instance", "le"}
SERIES = {"Counter": ("",), "Gauge": ("",), "Histogram": ("_bucket", "_count", "_sum")}
WORDS = {"by", "on", "or", "and", "unless", "without", "offset", "ignoring", "group_left", "group_right", "bool", "inf"}


class Metric(NamedTuple):
    """Metric of the list in the telemetry crate."""

    kind: str
    labels: frozenset[str]


def metrics() -> dict[str, Metric]:
    """Returns the metrics of all programs by name."""
    entry = re.compile(r'^ +(Counter|Gauge|Histogram) \w+ = "(\w+)" \[([^]]*)\]', re.M)
    found = {
        name: Metric(kind, frozenset(re.findall(r"\w+", labels)))
        for kind, name, labels in entry.findall(LIST.read_text(encoding="utf-8"))
    }
    assert found, f"no metric in {LIST}"
    return found


# ---- rules and dashboards


def rules() -> int:
    """Checks rules, tests, targets and dashboards. Returns an exit code."""
    program = promtool.find()
    if program is None:
        return promtool.not_run()
    groups = load(PROMETHEUS / "alerts.yml")["groups"]
    expressions = list(panels())
    wrong = promtool.run(program, "check", "config", str(PROMETHEUS / "prometheus.yml"))
    wrong += promtool.run(program, "test", "rules", str(PROMETHEUS / "alerts.test.yml"))
    wrong += check_tests(groups, load(PROMETHEUS / "alerts.test.yml"))
    wrong += check_syntax(program, expressions)
    of_rules = [(f"rule {name(rule)}", rule["expr"]) for group in groups for rule in group["rules"]]
    wrong += check_names(of_rules + expressions)
    wrong += check_targets(load(PROMETHEUS / "prometheus.yml"), load(Path("docker-compose.yml")))
    return report(wrong, f"{len(of_rules)} rules and {len(expressions)} expressions of dashboards are good")


def load(file: Path) -> Any:
    """Returns the content of a YAML file."""
    from ruamel.yaml import YAML  # noqa: PLC0415 (`scrape` does without this package)

    return YAML(typ="safe").load(file)


def name(rule: dict[str, str]) -> str:
    """Returns the name of an alert or of a recorded figure."""
    return rule.get("alert") or rule["record"]


def check_tests(groups: list[Any], tests: Any) -> Iterator[str]:
    """Yields alerts without a test in which they fire, or without one in which they do not."""
    if tests.get("group_eval_order") != [group["name"] for group in groups]:
        yield "group_eval_order of alerts.test.yml does not have the groups of alerts.yml in their order"
    tried = [case for test in tests["tests"] for case in test.get("alert_rule_test", [])]
    for alert in (rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule):
        fires = {bool(case.get("exp_alerts")) for case in tried if case["alertname"] == alert}
        yield from (f"no test in which {alert} fires" for _ in {True} - fires)
        yield from (f"no test in which {alert} does not fire" for _ in {False} - fires)


def panels() -> Iterator[tuple[str, str]]:
    """Yields the expressions of all dashboards with the panels that have them."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.name}, panel {panel['title']}", target["expr"]


def check_syntax(program: str, expressions: list[tuple[str, str]]) -> Iterator[str]:
    """Yields the expressions that promtool cannot parse, tried as recording rules."""
    groups = [
        {"name": f"{number}: {place}", "rules": [{"record": f"panel_{number}", "expr": plain(expression)}]}
        for number, (place, expression) in enumerate(expressions)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        json.dump({"groups": groups}, file)  # JSON is YAML
        file.flush()
        yield from promtool.run(program, "check", "rules", file.name)


def plain(expression: str) -> str:
    """Returns the expression of a panel with a value in place of each variable."""
    return re.sub(r"\$\w+", ".*", expression)


def check_names(expressions: list[tuple[str, str]]) -> Iterator[str]:
    """Yields names of metrics, and labels of theirs, that no program has."""
    known = {each + suffix: it.labels | ADDED for each, it in metrics().items() for suffix in SERIES[it.kind]} | OWN
    recorded = set(re.findall(r"^ +- record: (\S+)", (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"), re.M))
    for place, expression in expressions:
        for each in sorted(named(expression)):
            if each not in known:
                yield f"{place}: there is no metric {each}"
        for each in set(re.findall(r"\w+(?::\w+)+", expression)) - recorded:
            yield f"{place}: nothing records {each}"
        for each, matchers in re.findall(r'\b(\w+)\{((?:[^}"]|"[^"]*")*)\}', expression):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", matchers)))
            yield from (f"{place}: {each} has no label {label}" for label in labels - known.get(each, labels))


def named(expression: str) -> set[str]:
    """Returns the metrics in PromQL: its names except labels, functions, words of the language and recorded figures."""
    bare = re.sub(r'"[^"]*"|#.*', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\b\w+(?::\w+)+", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    return {each for each in re.findall(r"\b[a-z_]+\b(?!\s*\()", bare) if each not in WORDS}


def check_targets(config: Any, compose: Any) -> Iterator[str]:
    """Yields programs of docker-compose.yml that are not scraped, and targets that are no service."""
    scraped: set[str] = set()
    for job in config["scrape_configs"]:
        if job["job_name"] != "prometheus":
            found = [target for each in job.get("static_configs", []) for target in each["targets"]]
            scraped |= {target.split(":")[0] for target in found}
            scraped |= {host for each in job.get("dns_sd_configs", []) for host in each["names"]}
    ours = {each for each, service in compose["services"].items() if "build" in service}
    yield from (f"prometheus.yml does not scrape {each} of docker-compose.yml" for each in sorted(ours - scraped))
    yield from (f"prometheus.yml scrapes {each}, which docker-compose.yml lacks" for each in sorted(scraped - ours))


# ---- programs that run


def scrape(urls: list[str]) -> int:
    """Checks the metrics of programs that run. Returns an exit code."""
    program = promtool.find()
    if program is None:
        return promtool.not_run()
    wrong: list[str] = []
    for url in urls:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = promtool.run(program, "check", "metrics", stdin=text) + list(check_text(text))
        wrong += [f"{url}: {line}" for line in found]
    return report(wrong, f"the metrics of {len(urls)} programs are good")


def check_text(text: str) -> Iterator[str]:
    """Yields metrics that have no description, or another one than the list."""
    known = metrics()
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
    helped = set(re.findall(r"^# HELP (\w+) \S", text, re.M))
    yield from (f"{each} has no HELP" for each in sorted(types.keys() - helped))
    for each, kind in types.items():
        if each not in known:
            yield f"{each} is not in {LIST}"
        elif known[each].kind.lower() != kind:
            yield f"{each} is a {kind}, and a {known[each].kind.lower()} in {LIST}"
    for sample in set(re.findall(r"^(\w+)[{ ]", text, re.M)):
        if not {sample, re.sub(r"_(bucket|count|sum)$", "", sample)} & types.keys():
            yield f"{sample} has no TYPE"
    yield from (f"there is no {each}" for each in sorted(ALWAYS - types.keys()))


def report(wrong: list[str], well: str) -> int:
    """Prints what is wrong, or that all is well. Returns an exit code."""
    print("\n".join(wrong) or well)
    return int(bool(wrong))


def main() -> int:
    """Runs the check that the command line names."""
    match sys.argv[1:]:
        case ["rules"]:
            return rules()
        case ["scrape", url, *more]:
            return scrape([url, *more])
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
