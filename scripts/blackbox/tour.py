"""Runs the tour of README.md against a fresh shop, and checks that a wrong answer ends the tour.

    PYTHONPATH=scripts python3 -m blackbox.tour --shop URL --folder DIR --admin-password PASSWORD

DIR is the working folder of the shop, which has `data/exports`. The tour runs in bash, sh and (if installed) zsh: with
the right password, with a wrong one, and with a wrong one in an interactive bash, which must stay open. The labs of
docs/learn.md must have the same helper functions, so that they stop in the same way.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
LABS = ROOT / "docs" / "learn.md"
HELPERS = re.compile(r"^unique\(\) .*?(?=^```|^topic\(\))", re.M | re.S)
SHELLS = [shell for shell in ("bash", "sh", "zsh") if shutil.which(shell)]
PATIENCE = 120  # seconds for one run
EXPECTED = [
    '"status":"issued"',
    '"amount":"35820"',
    "event: notification",
    '"type":"shop.payment.completed"',
    '"status":"handled"',
    '"lag":0',
    '"sold":2',
    '"status":"preparing"',
    '"net":"',
    '"consistent":true',
]
UNEXPECTED = re.compile(r'/problems/|"status":"(?:pending|parked|dead)"')
REFUSED = ["/problems/invalid-credentials", "there is no access_token in the answer"]
SIGN_IN = 2  # number of the step that needs the password
STILL_OPEN = "the shell is still open"


def steps(page: str) -> list[str]:
    """Returns the shell blocks of the tour."""
    section = re.search(r"^## A tour\n(.*?)^## ", page, re.M | re.S)
    blocks = re.findall(r"^```sh\n(.*?)^```\n", section[1] if section else "", re.M | re.S)
    if not blocks:
        sys.exit("README.md has no tour")
    return blocks


def check_helpers() -> list[str]:
    """The labs stop at a wrong answer as the tour does: by the same functions."""
    tour, labs = (HELPERS.search(page.read_text(encoding="utf-8")) for page in (README, LABS))
    same = tour is not None and labs is not None and tour[0] == labs[0]
    return told("helper functions of the labs", [] if same else ["they are not those of the tour"], "")


def script(blocks: list[str]) -> str:
    """Joins the steps, each behind a line with its number."""
    return "".join(f"echo '== step {number}'\n{block}" for number, block in enumerate(blocks, 1))


class Tour:
    def __init__(self, shop: str, folder: str):
        self.script = script(steps(README.read_text(encoding="utf-8")))
        self.shop = shop
        self.folder = folder

    def run(self, command: list[str], password: str, after: str = "") -> tuple[int, str]:
        """Feeds the tour to a shell. Returns the exit code and the output."""
        env = {**os.environ, "SHOP": self.shop, "ADMIN_PASSWORD": password}
        done = subprocess.run(
            command,
            input=self.script + after,
            cwd=self.folder,
            env=env,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout

    def check_complete(self, shell: str, password: str) -> list[str]:
        status, output = self.run([shell, "-eu"], password)
        wrong = [f"it does not show {text}" for text in EXPECTED if text not in output]
        wrong += [f"it shows {line}" for line in output.splitlines() if UNEXPECTED.search(line)]
        return told(f"{shell} -eu", wrong + ([f"it ends with {status}"] if status else []), output)

    def check_stopped(self, shell: str) -> list[str]:
        """A wrong password ends the tour in the step that signs in."""
        status, output = self.run([shell, "-eu"], "not the password")
        wrong = [f"it does not show {text}" for text in REFUSED if text not in output]
        last = output.rfind("== step ")
        if not output[last:].startswith(f"== step {SIGN_IN}\n") or "product" in output[last:]:
            wrong.append("it does not end where the administrator signs in")
        return told(f"{shell} -eu, wrong password", wrong + ([] if status else ["it ends with 0"]), output)

    def check_interactive(self) -> list[str]:
        """A wrong password closes no shell, and what is pasted after it sends no request without its values."""
        _, output = self.run(["bash", "--norc", "-i"], "not the password", f"echo '{STILL_OPEN}'\n")
        wrong = [f"it does not show {text}" for text in [*REFUSED, STILL_OPEN] if text not in output]
        if output.count("/problems/") != 1:
            wrong.append("it sends requests whose values are missing")
        return told("interactive bash, wrong password", wrong, output)


def told(name: str, wrong: list[str], output: str) -> list[str]:
    """Prints the outcome of one run, with the output of a failed one."""
    print(f"== {name}: {'FAILED' if wrong else 'ok'}", flush=True)
    if wrong:
        print(output)
    return [f"{name}: {problem}" for problem in wrong]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shop", required=True, metavar="URL")
    parser.add_argument("--folder", required=True, metavar="DIR")
    parser.add_argument("--admin-password", required=True, metavar="PASSWORD")
    arguments = parser.parse_args()
    tour = Tour(arguments.shop, arguments.folder)
    wrong = []
    for shell in SHELLS:
        wrong += tour.check_complete(shell, arguments.admin_password)
        wrong += tour.check_stopped(shell)
    wrong += tour.check_interactive() + check_helpers()
    print("".join(f"{problem}\n" for problem in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
